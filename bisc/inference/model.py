"""A trained cascade: plan and the networks of one or several folds, from a results folder or an exported archive."""

from __future__ import annotations

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import torch

from bisc.core.choices import STAGES, Edges, Stage
from bisc.core.errors import InputError
from bisc.core.geometry import IntTriple
from bisc.core.limits import Edge, Features, Norm, Packing
from bisc.network import SCUNet
from bisc.network.checkpoint import Checkpoint, load_checkpoint, plan_conflicts, save_checkpoint
from bisc.network.device import Device
from bisc.network.folded import FoldedSCUNet, with_diffused_weights
from bisc.network.folded import fold as fold_norms
from bisc.network.sc_unet import RegionNetwork
from bisc.planners.plan import Plan
from bisc.system.files import atomic_file
from bisc.system.jsonfile import parse_json
from bisc.system.paths import CHECKPOINT_LAST

CHECKPOINT: Final = CHECKPOINT_LAST
"""The last state, not the best: the best was chosen on the fold's validation cases, which are reported on."""
_MEMBER = re.compile(r"(rough|fine)/fold_(\d{1,4})/" + re.escape(CHECKPOINT), re.ASCII)
MAX_EXPANSION: Final = 10
"""How much larger than an archive its members may be together; weights hardly pack at all."""
MOST_NETWORK_GB: Final = 2.5
"""A pass never takes more, whatever is free: 192 x 192 x 192 voxels folded at f = 32. So a long scan fits in 4 GB, and
results do not depend on how much memory a machine has, as long as it has that much."""
UNPACKING_BYTES: Final = 24.0
"""Per voxel of a packed network: its three logits twice."""
MEND: Final = "train it (bisc_train), or name another model with -d or -m"


class NetworkSettings(msgspec.Struct, frozen=True):
    """What of a checkpoint's settings shapes its network, within limits that keep a hostile file from the memory."""

    base_features: Features
    norm: Norm
    stage: Stage
    patch_size_zyx: tuple[Edge, Edge, Edge]
    edges: Edges = "branches"
    packing: Packing = 1


_FIELDS: Final = NetworkSettings.__struct_fields__


@dataclass(frozen=True, eq=False)
class FoldNetwork:
    """One fold's network of one stage, ready to predict.

    Attributes:
        fold: Its number.
        network: In eval mode, on the device, in its quickest form and the device's precision.
        device: Where it predicts.
        window_zyx: What it sees at a time; None: a region in one piece (see `_window`).
        offsets: Logit offsets per class for the calibrated decision; None where none were fitted.
        bytes_per_voxel: What a pass takes for each voxel of a region.
        exact: The same network in float32, where the other is not and could overflow.
        mark: Changes with any weight.
    """

    fold: int
    network: RegionNetwork
    device: Device
    window_zyx: IntTriple | None
    offsets: tuple[float, ...] | None
    bytes_per_voxel: float = 0.0
    exact: RegionNetwork | None = None
    mark: int = 0


@dataclass(frozen=True, eq=False)
class Model:
    """A cascade. Folds of a stage are averaged, and with `mirror` what the fine stage sees left for right too; a pass
    through a network takes at most `network_gb` GiB."""

    name: str
    plan: Plan
    rough: tuple[FoldNetwork, ...]
    fine: tuple[FoldNetwork, ...]
    device: Device
    network_gb: float = MOST_NETWORK_GB
    mirror: bool = False


def load_model(source: Path, folds: Sequence[int] | None, device: Device) -> Model:
    """A model from RESULTS/NAME or from an archive that bisc_export wrote.

    Args:
        source: Folder or .zip; archive members are read in place by exact name, nothing is unpacked.
        folds: Folds to average; None takes all that are there.
        device: Where to predict, and in which precision.

    Raises:
        InputError: If the plan, a stage or an asked fold is missing, or a checkpoint does not fit its settings.
    """
    files = _Zip(source) if source.is_file() else _Folder(source)
    plan = _plan(files)
    stages = {stage: _stage(files, stage, folds, device, plan) for stage in STAGES}
    return Model(source.stem, plan, stages["rough"], stages["fine"], device)


def load_stage(source: Path, stage: Stage, folds: Sequence[int] | None, device: Device) -> tuple[FoldNetwork, ...]:
    """One stage alone; arguments and errors as `load_model`."""
    files = _Folder(source)
    return _stage(files, stage, folds, device, _plan(files))


def export_model(results: Path, folds: Sequence[int] | None, target: Path) -> int:
    """Pack plan and weights (no optimiser state) of a results folder into a .zip for `bisc_predict -m`.

    Returns:
        The number of checkpoints packed.

    Raises:
        InputError: As `load_model`.
    """
    files = _Folder(results)
    _plan(files)
    members = [m for stage in STAGES for m in _members(files, stage, folds)]
    with atomic_file(target) as scratch, zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_dateless("plan.json"), files.read("plan.json"))
        for _, member in members:
            lean = scratch.with_name(scratch.name + ".pt")
            checkpoint = files.checkpoint(member)
            checkpoint.optimizer = {}
            try:
                save_checkpoint(lean, checkpoint)
                archive.writestr(_dateless(member), lean.read_bytes())
            finally:
                lean.unlink(missing_ok=True)
    return len(members)


def _dateless(member: str) -> zipfile.ZipInfo:
    """A member dated 1980, as all are: the same model gives the same archive."""
    info = zipfile.ZipInfo(member)
    info.external_attr = 0o644 << 16
    return info


class _Folder:
    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        return sorted(p.relative_to(self.root).as_posix() for p in self.root.glob(f"*/fold_*/{CHECKPOINT}"))

    def read(self, name: str) -> bytes:
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise InputError(self.root / name, error.strerror or str(error), "a trained model", MEND) from error

    def checkpoint(self, name: str) -> Checkpoint:
        return load_checkpoint(self.root / name)


class _Zip:
    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            self.archive = zipfile.ZipFile(root)
        except Exception as error:  # as in `read`
            raise InputError(root, f"no usable archive ({error})", "a .zip of bisc_export", MEND) from error
        fault = _archive_fault(self.archive, root.stat().st_size)
        if fault:
            raise InputError(root, f"no usable archive ({fault})", "a .zip of bisc_export", MEND)

    def names(self) -> list[str]:
        return sorted(self.archive.namelist())

    def read(self, name: str) -> bytes:
        try:
            return self.archive.read(name)
        except Exception as error:  # zipfile stumbles over foreign bytes in a dozen ways
            raise InputError(self.root, f"{name} is missing or damaged", "a .zip of bisc_export", MEND) from error

    def checkpoint(self, name: str) -> Checkpoint:
        return load_checkpoint(io.BytesIO(self.read(name)), f"{self.root}: {name}")


def _archive_fault(archive: zipfile.ZipFile, n_bytes: int) -> str:
    """What bisc_export never writes, in words: members that lead out of a folder, links, doubles, bombs."""
    members = archive.infolist()
    names = [member.filename for member in members]
    outside = [n for n in names if n.startswith("/") or "\\" in n or ":" in n or ".." in n.split("/")]
    if outside:
        return f"its member '{outside[0][:100]}' leads out of it"
    if len(set(names)) < len(names):
        return "a member occurs twice"
    if any(stat.S_ISLNK(member.external_attr >> 16) for member in members):
        return "a member is a link"
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        return "a member is packed by another method than deflate"
    if sum(member.file_size for member in members) > MAX_EXPANSION * n_bytes:
        return f"its members unpack to more than {MAX_EXPANSION} times its size"
    return ""


def _plan(files: _Folder | _Zip) -> Plan:
    raw = files.read("plan.json")
    try:
        return msgspec.json.decode(raw, type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return parse_json(raw, Plan, files.root / "plan.json", MEND)  # says what is wrong, or reads past a mark


def _members(files: _Folder | _Zip, stage: str, folds: Sequence[int] | None) -> list[tuple[int, str]]:
    found = {int(m[2]): m[0] for m in map(_MEMBER.fullmatch, files.names()) if m and m[1] == stage}
    if not found:
        raise InputError(files.root, f"no trained {stage} stage", f"{stage}/fold_K/{CHECKPOINT}", MEND)
    missing = [k for k in folds or () if k not in found]
    if missing:
        raise InputError(
            files.root, f"no {stage} fold {missing[0]}", f"one of {', '.join(map(str, sorted(found)))}", "change -f"
        )
    return [(k, found[k]) for k in (sorted(found) if folds is None else folds)]


def _stage(
    files: _Folder | _Zip, stage: Stage, folds: Sequence[int] | None, device: Device, plan: Plan
) -> tuple[FoldNetwork, ...]:
    """The rough stage is in float32: a voxel more or less at a kidney's end moves its ROI, and the fine stage then sees
    other voxels; in half precision one mask agreed with float32's at a Dice of 0.986 (docs/lab/method.md)."""
    own = device.in_float32() if stage == "rough" else device
    return tuple(
        _network(files.checkpoint(member), fold, f"{files.root / member}", own, plan)
        for fold, member in _members(files, stage, folds)
    )


def _network(checkpoint: Checkpoint, fold: int, name: str, device: Device, plan: Plan) -> FoldNetwork:
    conflicts = plan_conflicts(checkpoint, msgspec.to_builtins(plan))
    if conflicts:
        raise InputError(name, f"was trained with another plan: {conflicts}", "one plan for all networks", MEND)
    try:
        known = {key: value for key, value in checkpoint.settings.items() if key in _FIELDS}
        settings = msgspec.convert(known, NetworkSettings)
        network = SCUNet(settings.base_features, settings.norm, settings.edges, settings.packing)
        network.load_state_dict(checkpoint.network)
    except (msgspec.ValidationError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(name, "weights do not fit their settings", "an unchanged checkpoint", MEND) from error
    if not all(bool(torch.isfinite(weights).all()) for weights in network.state_dict().values()):
        raise InputError(name, "weights that are NaN or infinite", "a training that did not diverge", MEND)
    mark = 0
    for weights in network.state_dict().values():
        mark = zlib.crc32(weights.contiguous().numpy(), mark)
    offsets = None if checkpoint.offsets is None else tuple(checkpoint.offsets)
    network = device.put_network(network).eval()
    exact = _quickest(network, settings.norm, device.in_float32())
    quick = exact if device.precision == "fp32" else _quickest(network, settings.norm, device)
    unpacking = 0.0 if settings.packing == 1 else UNPACKING_BYTES
    bytes_per_voxel = settings.base_features * exact.bytes_per_voxel_feature / settings.packing**2 + unpacking
    return FoldNetwork(
        fold, quick, device, _window(settings), offsets, bytes_per_voxel, None if quick is exact else exact, mark
    )


def _quickest(network: SCUNet, norm: Norm, device: Device) -> SCUNet | FoldedSCUNet:
    """Batch norm folds into the convolutions; instance norm, which depends on the image, cannot."""
    if norm == "batch":
        return fold_norms(network, device)
    return network if device.precision == "fp32" else with_diffused_weights(network, device.dtype)


def _window(settings: NetworkSettings) -> IntTriple | None:
    """The training patch slides over a volume, but for a fine network with batch norm, which sees an ROI whole.

    Instance norm takes its statistics from what it sees: over a whole ROI they are not those of a patch, and kidney
    Dice fell from 0.91 to 0.78 (docs/lab/method.md). Batch norm's are frozen. The rough stage's windows span the image
    in plane and bound the memory of a long scan.
    """
    return None if settings.stage == "fine" and settings.norm == "batch" else settings.patch_size_zyx
