"""Checkpoints: whole or absent, loadable with weights_only=True, the same bytes for the same training state."""

from __future__ import annotations

import io
import math
import pickletools
import sys
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import msgspec
import torch
from torch import Tensor, nn

from bisc.core.errors import InputError, one_line
from bisc.core.labels import N_CLASSES
from bisc.system.files import write_bytes

CHECKPOINT_FORMAT: Final = 1
INPUT_KEYS: Final = ("target_spacing_mm_zyx", "rough_in_plane_px", "intensity")
"""What of a plan decides how an image looks to the network."""
CASCADE_KEYS: Final = (*INPUT_KEYS, "roi")
"""And where the fine stage looks: what networks that are used, or compared, together have in common."""


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
        cases: Names of the cases that it was trained on; none where it is older than that was kept.
        voxels: A digest of their images and labels; empty where it, or their caches, are older than that was kept.
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
    cases: list[str] = field(default_factory=list)
    voxels: str = ""

    @property
    def unfinished(self) -> str:
        """'step 4 of 1000' of a training that has not come to its end; empty where it has, or its end is not known."""
        epochs, iterations = (self.settings.get(key) for key in ("epochs", "iterations"))
        if not isinstance(epochs, int) or not isinstance(iterations, int) or self.step >= epochs * iterations:
            return ""
        return f"step {self.step} of {epochs * iterations}"


class _Form(msgspec.Struct, forbid_unknown_fields=True):
    """The kinds of a checkpoint's values in a file. Tensors pass as Any and are looked at afterwards."""

    settings: dict[str, Any]
    plan: dict[str, Any]
    network: dict[str, Any]
    optimizer: dict[str, Any] = {}
    step: Annotated[int, msgspec.Meta(ge=0)] = 0
    best: float = -1.0
    epoch_losses: list[float] = []
    rows: list[dict[str, float]] = []
    offsets: Annotated[list[float], msgspec.Meta(min_length=N_CLASSES, max_length=N_CLASSES)] | None = None
    cases: list[str] = []
    voxels: str = ""


def save_checkpoint(path: Path, checkpoint: Checkpoint, *copies: Path) -> None:
    """Write a checkpoint, and the same bytes as `copies`, each whole or not at all."""
    # Through memory: torch.save writes the file's own name into the archive, and a scratch name would change its bytes.
    buffer = io.BytesIO()
    torch.save(_canonical({"format": CHECKPOINT_FORMAT, **vars(checkpoint)}), buffer)
    content = buffer.getvalue()
    for each in (path, *copies):
        write_bytes(each, content)


def load_checkpoint(source: Path | BinaryIO, name: Path | str | None = None) -> Checkpoint:
    """Read a checkpoint onto the CPU; nothing in the file is executed (weights_only=True).

    Raises:
        InputError: If it is missing, damaged, of another format, or no checkpoint of this package.
    """
    shown = str(name or source)
    mend = "train again, or go on from another checkpoint"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's words on odd pickles; what matters of them is an error below
            raw = _load(source)
    except Exception as error:  # torch stumbles over foreign bytes in a dozen ways: IndexError, AssertionError, ...
        reason = one_line(str(error) or type(error).__name__).split(". ")[0][:200]
        raise InputError(shown, f"no usable checkpoint ({reason})", "a checkpoint of bisc_train", mend) from error
    if not isinstance(raw, dict) or raw.pop("format", None) != CHECKPOINT_FORMAT:
        raise InputError(shown, "another format", f"a bisc_train checkpoint of format {CHECKPOINT_FORMAT}", mend)
    try:
        form = msgspec.convert(raw, _Form)
    except msgspec.ValidationError as error:
        raise InputError(shown, one_line(str(error)), "the keys and values of a checkpoint", mend) from error
    tensors = all(isinstance(weights, Tensor) and weights.is_contiguous() for weights in form.network.values())
    if not tensors or not all(map(math.isfinite, form.offsets or ())):
        raise InputError(shown, "values of another kind", "the values of a checkpoint", mend)
    return Checkpoint(**msgspec.structs.asdict(form))


def _load(source: Path | BinaryIO) -> Any:
    """What a checkpoint holds: plain values and tensors, on the CPU."""
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        check_archive(file)
        raw = torch.load(file, map_location="cpu", weights_only=True)
    check_plain(raw, Tensor)
    return raw


def plan_conflicts(checkpoint: Checkpoint, plan: Mapping[str, Any]) -> str:
    """Where `plan` would show the network other images than it was trained on, in words; empty where it would not."""
    return differences(checkpoint.plan, plan, INPUT_KEYS)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Which of these plain values two plans differ in, in words; empty where they agree."""
    differing = [key for key in keys if not _equal(old.get(key), new.get(key))]
    return ", ".join(f"{key} {old.get(key)} (now {new.get(key)})" for key in differing)


def _equal(a: object, b: object) -> bool:
    """Equality of plain values; a list equals a tuple of the same values, since JSON knows but one of them."""
    return bool(_canonical(a) == _canonical(b))


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
    if isinstance(value, float):  # numpy's floats are floats too, but weights_only=True refuses to load them
        return float(value)
    if value is None or isinstance(value, bool | int):
        return value
    raise TypeError(f"a checkpoint holds tensors and plain values, not {type(value).__name__}")


MAX_BYTES: Final = 2 << 30
"""23 MB are the weights of base_features 32, 70 MB with Adam's state; 128 features have 16 times that."""
MAX_PICKLE_BYTES: Final = 16 << 20
"""The pickle of base_features 32 after 1000 epochs has a hundredth of it."""
PICKLE: Final = "/data.pkl"
DTYPES: Final = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Byte", "Char", "Bool")
GLOBALS: Final = frozenset(
    ["torch._utils _rebuild_tensor_v2", "collections OrderedDict", *(f"torch {dtype}Storage" for dtype in DTYPES)]
)
"""All that the pickle may name: how torch stores a tensor and its dictionary of hooks."""
OPCODES: Final = frozenset(
    [
        *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BINPERSID", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "SETITEM", "SETITEMS", "APPEND", "APPENDS"),
        *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "NONE", "NEWTRUE", "NEWFALSE"),
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    ]
)
"""What torch.save writes of plain values and tensors (pickle protocol 2)."""


class UnsafeArchive(Exception):
    """Why an archive is no checkpoint of this package, in words."""


def check_archive(file: BinaryIO) -> None:
    """Look through an archive, at the cost of its directory and its pickle; the position in `file` is kept.

    Raises:
        UnsafeArchive: If it is no zip, holds packed or doubled members, is larger than `MAX_BYTES`, or its pickle asks
            for more than plain values and tensors.
        Exception: Whatever zipfile and pickletools raise for damaged files.
    """
    start = file.tell()
    n_bytes = file.seek(0, 2) - start
    file.seek(start)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if n_bytes > MAX_BYTES or sum(member.file_size for member in members) > n_bytes:
            raise UnsafeArchive(f"its members are packed, or larger than {MAX_BYTES} bytes")
        if len({member.filename for member in members}) < len(members):
            raise UnsafeArchive("a member occurs twice")
        pickles = [m for m in members if m.filename.endswith(PICKLE)]
        if len(pickles) != 1 or pickles[0].compress_type != zipfile.ZIP_STORED:
            raise UnsafeArchive(f"{len(pickles)} pickles")
        if pickles[0].file_size > MAX_PICKLE_BYTES:
            raise UnsafeArchive(f"a pickle of {pickles[0].file_size} bytes")
        check_pickle(archive.read(pickles[0]))
    file.seek(start)


def check_pickle(data: bytes) -> None:
    """Look through a pickle's instructions; none is carried out.

    Raises:
        UnsafeArchive: At the first that plain values and tensors do not need.
    """
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in OPCODES:
            raise UnsafeArchive(f"its pickle uses {opcode.name}")
        if opcode.name == "GLOBAL" and argument not in GLOBALS:
            raise UnsafeArchive(f"its pickle asks for {argument}")


def check_plain(value: Any, is_tensor: type, max_depth: int = 12, max_values: int = 1_000_000) -> None:
    """Refuse values nested too deep (cycles among them) or too many: comparing and copying them would never end.

    Args:
        value: What was loaded.
        is_tensor: The class of tensors; they count as one value.
        max_depth: Containers within containers.
        max_values: Values altogether, a shared one as often as it occurs.

    Raises:
        UnsafeArchive: Saying which.
    """
    left = max_values
    level = [value]
    for _ in range(max_depth + 1):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one.keys()
                below += one.values()
            elif isinstance(one, list | tuple):
                below += one
            elif one is not None and not isinstance(one, str | bool | int | float | is_tensor):
                raise UnsafeArchive(f"a value of type {type(one).__name__}")
            if len(below) > left:
                raise UnsafeArchive(f"more than {max_values} values")
        if not below:
            return
        left -= len(below)
        level = below
    raise UnsafeArchive(f"values nested more than {max_depth} deep")


def mark_of(network: nn.Module) -> int:
    """A number that changes with any weight, as it was trained."""
    mark = 0
    for weights in network.state_dict().values():
        mark = zlib.crc32(weights.cpu().contiguous().numpy(), mark)
    return mark
