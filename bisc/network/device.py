"""Where a network computes, in which precision, and whether to the last bit."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import numpy.typing as npt
import torch
from torch import Tensor, nn

from bisc.core.choices import PRECISIONS
from bisc.core.errors import InputError
from bisc.core.geometry import IntTriple
from bisc.system.memory import usable_cores

BROKEN_BF16_DEPTH: Final = 2
N_LEVELS: Final = 4
DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Device:
    """Where and how to compute.

    Attributes:
        device: torch's.
        precision: 'fp32', 'bf16' or 'fp16'.
        deterministic: The same input gives the same bytes: algorithms without chance, and no clocks in tables.
    """

    device: torch.device
    precision: str
    deterministic: bool = False

    @property
    def kind(self) -> str:
        """'cpu' or 'cuda'."""
        return self.device.type

    @property
    def dtype(self) -> torch.dtype:
        """What the network's products are computed in."""
        return DTYPES[self.precision]

    @property
    def scales_gradients(self) -> bool:
        """fp16 gradients underflow without scaling."""
        return self.precision == "fp16"

    def for_patch(self, patch_size_zyx: IntTriple) -> Device:
        """This device in a precision that trains patches of this size rightly.

        On a CPU the bf16 weight gradient of a 3x3x3 convolution is garbage, NaN or worse, where its input is exactly
        two slices deep (measured, docs/lab/method.md): the bottom group of a patch of 16 slices.
        """
        depths = {patch_size_zyx[0] // 2**level for level in range(N_LEVELS)}
        if self.kind == "cpu" and self.precision == "bf16" and BROKEN_BF16_DEPTH in depths:
            return replace(self, precision="fp32")
        return self

    def in_float32(self) -> Device:
        """The same device, computing in single precision."""
        return replace(self, precision="fp32")

    def autocast(self) -> AbstractContextManager[None]:
        """Mixed precision for the forward pass; losses stay in float32."""
        single = self.precision == "fp32"
        dtype = torch.bfloat16 if single else self.dtype  # it must be a short one, enabled or not
        context: AbstractContextManager[None] = torch.autocast(self.kind, dtype, enabled=not single)
        return context

    def put(self, array: npt.NDArray[Any] | Tensor) -> Tensor:
        """An array as a tensor on the device. Images have one channel: their memory is channels-first and -last."""
        tensor = array if isinstance(array, Tensor) else torch.from_numpy(array)
        return tensor.to(self.device, non_blocking=True)

    def put_network(self, network: Network) -> Network:
        """A network on the device, in the memory format in which it is quickest there: channels last, but for a
        network without batch norm on CUDA, whose group norms copy such tensors to and fro (docs/lab/performance.md)."""
        plain = self.kind == "cuda" and not any(isinstance(m, nn.BatchNorm3d) for m in network.modules())
        layout = torch.contiguous_format if plain else torch.channels_last_3d
        return network.to(self.device, memory_format=layout)  # type: ignore[call-overload, no-any-return]


def choose_device(name: str | None, precision: str = "auto", deterministic: bool = False) -> Device:
    """The device called `name` (None: CUDA where there is one, else CPU) in the best precision it has.

    Args:
        name: 'cpu', 'cuda', 'cuda:N' or None.
        precision: One of `PRECISIONS`.
        deterministic: Demand of torch, for this process, algorithms that give the same bytes each time. A CPU's alone:
            CUDA has none for the gradient of max pooling.

    Raises:
        InputError: If the device is not there, or cannot be deterministic.
    """
    if precision not in PRECISIONS:
        raise InputError("--precision", repr(precision), " or ".join(PRECISIONS))
    if name is None:
        name = "cuda" if torch.cuda.is_available() and not deterministic else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError("--device", f"{name!r} is no device", "cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError("--device", f"{name!r} is not supported", "cpu, cuda or cuda:N")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise InputError("--device", f"{name!r} is not on this machine", "cpu", "leave --device out")
    torch.set_num_threads(min(usable_cores(), torch.get_num_threads()))  # torch minds affinity, not a group's quota
    if deterministic:
        if device.type != "cpu":
            raise InputError("--deterministic", f"given with --device {name}", "--device cpu", "leave one of them out")
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if precision == "auto":
        precision = "bf16" if _has_bf16(device) else "fp16" if device.type == "cuda" else "fp32"
    return Device(device, precision, deterministic)


def _has_bf16(device: torch.device) -> bool:
    """Whether bf16 is computed by the hardware, not emulated."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Private, and not in every torch of setup.cfg's range: where they are missing, fp32 is the safe answer.
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe() for probe in probes if probe is not None)
