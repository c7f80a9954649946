"""Weights as safetensors: a header of names, shapes and places, then plain numbers; nothing that could be executed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from bisc.core.errors import InputError, one_line

SUFFIX: Final = ".safetensors"
HEADER_LENGTH: Final = 8
"""Bytes at the file's beginning that say how long its header is, little-endian."""
MAX_HEADER_BYTES: Final = 1 << 20
"""A network's header has 12 KB; the format itself allows 100 MB."""
DTYPES: Final = (torch.float32, torch.int64)
"""Of weights, and of batch norm's count of batches."""


def to_safetensors(network: Mapping[str, Tensor]) -> bytes:
    """A network's state as a file's bytes; the same state gives the same bytes.

    Raises:
        ValueError: If a value is neither float32 nor int64: `from_safetensors` would not read it again.
    """
    odd = [name for name, value in network.items() if value.dtype not in DTYPES]
    if odd:
        raise ValueError(f"{odd[0]} is {network[odd[0]].dtype}")
    return safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in network.items()})


def from_safetensors(data: bytes, name: str) -> dict[str, Tensor]:
    """A network's state from a file's bytes, on the CPU.

    Args:
        data: The file.
        name: What it is called in an error.

    Raises:
        InputError: If it is damaged, or holds values of other kinds than a network's.
    """
    expected, mend = "the weights of a network", "get the file again"
    length = int.from_bytes(data[:HEADER_LENGTH], "little")
    if length > MAX_HEADER_BYTES:
        raise InputError(name, f"a header of {length} bytes", f"{expected}, at most {MAX_HEADER_BYTES}", mend)
    try:
        network: dict[str, Tensor] = safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:  # KeyError: a type that torch has not
        raise InputError(name, one_line(f"no usable weights ({error})")[:200], expected, mend) from error
    odd = [f"{key} of {value.dtype}" for key, value in network.items() if value.dtype not in DTYPES]
    if odd:
        raise InputError(name, f"holds {odd[0]}", "float32 and int64", mend)
    return network
