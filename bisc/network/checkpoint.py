"""Checkpoints: whole or absent, loadable with weights_only=True, the same bytes for the same training state."""

from __future__ import annotations

import io
import pickle
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch
from torch import Tensor

from bisc.core.errors import InputError, one_line
from bisc.core.files import write_bytes

CHECKPOINT_FORMAT: Final = 1


@dataclass
class Checkpoint:
    """A stage's state after some training step. Holds no clock, so that the same training gives the same file.

    Attributes:
        settings: The run's settings as plain values (trainers.settings.RunSettings).
        plan: The plan as plain values, so that a model folder explains itself.
        network: Weights.
        optimizer: Optimiser state; empty in exported models.
        step: Training steps done.
        best: Best validation score so far.
        epoch_losses: Losses of the steps since the last whole epoch.
        rows: One row of deterministic log values per epoch.
        offsets: Logit offsets per class for the calibrated decision, or None before they are fitted.
    """

    settings: dict[str, Any]
    plan: dict[str, Any]
    network: dict[str, Tensor]
    optimizer: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    best: float = -1.0
    epoch_losses: list[float] = field(default_factory=list)
    rows: list[dict[str, float]] = field(default_factory=list)
    offsets: list[float] | None = None


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole or not at all."""
    # Through memory: torch.save writes the file's own name into the archive, and a scratch name would change its bytes.
    buffer = io.BytesIO()
    torch.save(_canonical({"format": CHECKPOINT_FORMAT, **vars(checkpoint)}), buffer)
    write_bytes(path, buffer.getvalue())


def load_checkpoint(source: Path | BinaryIO, name: Path | str | None = None) -> Checkpoint:
    """Read a checkpoint onto the CPU; nothing in the file is executed (weights_only=True).

    Raises:
        InputError: If it is missing, damaged, of another format, or no checkpoint of this package.
    """
    shown = str(name or source)
    mend = "train again, or go on from another checkpoint"
    try:
        raw = torch.load(source, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = one_line(str(error)).split(". ")[0][:200]
        raise InputError(shown, f"no usable checkpoint ({reason})", "a checkpoint of bisc_train", mend) from error
    if not isinstance(raw, dict) or raw.pop("format", None) != CHECKPOINT_FORMAT:
        raise InputError(shown, "another format", f"a bisc_train checkpoint of format {CHECKPOINT_FORMAT}", mend)
    try:
        return Checkpoint(**raw)
    except TypeError as error:
        raise InputError(shown, one_line(str(error)), "the keys of a checkpoint", mend) from error


def _canonical(value: Any) -> Any:
    """A copy whose strings are interned and whose tensors are compact and on the CPU.

    Pickle writes a repeated object once: without this, a state that was loaded from a file and the same state grown
    in memory would differ in which equal strings are one object, and so in their bytes.
    """
    if isinstance(value, str):
        return sys.intern(str(value))
    if isinstance(value, Tensor):
        return value.detach().to("cpu").clone(memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {_canonical(k): _canonical(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(v) for v in value]
    return value
