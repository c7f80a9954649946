"""A trained cascade: plan and the networks of one or several folds, from a results folder or an exported archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from bisc.core.choices import STAGES, Decision, Edges, Stage
from bisc.core.errors import InputError
from bisc.core.geometry import IntTriple
from bisc.core.limits import Edge, Features, Norm, Packing
from bisc.inference.postprocessing import FILE, Postprocessing, postprocessed
from bisc.inference.sources import MEND, Folder, Source, open_source
from bisc.network import SCUNet
from bisc.network.checkpoint import Checkpoint, mark_of, plan_conflicts
from bisc.network.device import Device
from bisc.network.folded import FoldedSCUNet, with_diffused_weights
from bisc.network.folded import fold as fold_norms
from bisc.network.sc_unet import RegionNetwork
from bisc.planners.plan import Plan
from bisc.system.console import notice

MOST_NETWORK_GB: Final = 2.5
"""A pass never takes more, whatever is free: 192 x 192 x 192 voxels folded at f = 32. So a long scan fits in 4 GB, and
results do not depend on how much memory a machine has, as long as it has that much."""
UNPACKING_BYTES: Final = 24.0
"""Per voxel of a packed network: its three logits twice."""


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
        window_zyx: What it sees at a time; None: a region in one piece (see `window_of`).
        offsets: Logit offsets per class for the calibrated decision; None where none were fitted.
        bytes_per_voxel: What a pass takes for each voxel of a region.
        exact: The same network in float32, where the other is not and could overflow.
        mark: Changes with any weight.
        edges: Its branches of the organ's and the tumour's edge in the region branch's place; none where the network
            has none, or nobody asked for them.
    """

    fold: int
    network: RegionNetwork
    device: Device
    window_zyx: IntTriple | None
    offsets: tuple[float, ...] | None
    bytes_per_voxel: float = 0.0
    exact: RegionNetwork | None = None
    mark: int = 0
    edges: tuple[FoldNetwork, ...] = ()


@dataclass(frozen=True, eq=False)
class Model:
    """A cascade. Folds of a stage are averaged, and with `mirror` what the fine stage sees left for right too; a pass
    through a network takes at most `network_gb` GiB. `postprocessing` is what cross-validation chose, if anything."""

    name: str
    plan: Plan
    rough: tuple[FoldNetwork, ...]
    fine: tuple[FoldNetwork, ...]
    device: Device
    network_gb: float = MOST_NETWORK_GB
    mirror: bool = False
    postprocessing: Postprocessing | None = None

    def smallest_tumor_ml(self, decision: Decision) -> float:
        """Below which volume tumour components are dropped under a decision rule; 0: none are."""
        rule = self.postprocessing
        return rule.smallest_tumor_ml if rule is not None and rule.decision == decision else 0.0

    def postprocessed(
        self, labels: npt.NDArray[np.uint8], voxel_ml: float, decision: Decision, image: Path | str
    ) -> npt.NDArray[np.uint8]:
        """(z, y, x) labels under the rule that was chosen for this decision, if any; what is dropped is told."""
        smallest_ml = self.smallest_tumor_ml(decision)
        return postprocessed(labels, voxel_ml, smallest_ml, image) if smallest_ml else labels


def load_model(
    source: Path, folds: Sequence[int] | None, device: Device, postprocess: bool = True, check_edges: bool = False
) -> Model:
    """A model from RESULTS/NAME, from a model file, or from an archive of checkpoints as they were exported before.

    Args:
        source: Folder or .zip; every byte of a model file is checked, and nothing is unpacked.
        folds: Folds to average; None takes all that are there and trained to their end.
        device: Where to predict, and in which precision.
        postprocess: Take the post-processing that was chosen, too; one chosen with other weights is left out, with a
            notice.
        check_edges: Keep the fine stage's edge branches, whose outlines are then compared with the mask's; a model
            without any is told.

    Raises:
        InputError: If the plan, a stage or an asked fold is missing, or a checkpoint does not fit its settings.
    """
    files = open_source(source)
    plan = files.plan()
    stages = {stage: _stage(files, stage, folds, device, plan, check_edges) for stage in STAGES}
    if check_edges and not any(one.edges for one in stages["fine"]):
        notice(source, "was trained without edges", "the mask's outline is not compared with any")
    for stage, networks in stages.items():
        _tell_offsets(source, stage, networks)
    rule = files.postprocessing() if postprocess else None
    if rule is not None and not rule.knows((stage, one.fold, one.mark) for stage in STAGES for one in stages[stage]):
        notice(source / FILE, "was chosen with other networks", "left out; bisc_evaluate -d NAME chooses it anew")
        rule = None
    return Model(source.stem, plan, stages["rough"], stages["fine"], device, postprocessing=rule)


def _tell_offsets(source: Path, stage: Stage, networks: Sequence[FoldNetwork]) -> None:
    """What `bisc.inference.cascade.offsets_of` makes of folds whose offsets were never fitted."""
    without = [str(one.fold) for one in networks if one.offsets is None]
    if without:
        found = f"no offsets of {stage} fold {', '.join(without)}, whose training was not validated"
        done = "takes the other folds'" if len(without) < len(networks) else "is argmax"
        notice(source, found, f"'calibrated' {done}")


def load_stage(source: Path, stage: Stage, folds: Sequence[int] | None, device: Device) -> tuple[FoldNetwork, ...]:
    """One stage alone; arguments and errors as `load_model`."""
    files = Folder(source)
    return _stage(files, stage, folds, device, files.plan())


def _stage(
    files: Source, stage: Stage, folds: Sequence[int] | None, device: Device, plan: Plan, check_edges: bool = False
) -> tuple[FoldNetwork, ...]:
    """The rough stage is in float32: a voxel more or less at a kidney's end moves its ROI, and the fine stage then sees
    other voxels; in half precision one mask agreed with float32's at a Dice of 0.986 (docs/lab/method.md)."""
    own = device.in_float32() if stage == "rough" else device
    keeps = check_edges and stage == "fine"
    return tuple(
        _network(checkpoint, fold, name, own, plan, keeps) for fold, name, checkpoint in files.networks(stage, folds)
    )


def trained_network(checkpoint: Checkpoint, name: str, plan: Plan) -> tuple[SCUNet, NetworkSettings]:
    """The network of a checkpoint, on the CPU in float32, looked through before anything rests on it.

    Args:
        checkpoint: Weights and settings.
        name: What it is called in an error.
        plan: What it is to be used with.

    Raises:
        InputError: If it was trained with another plan, if its weights do not fit its settings or are no numbers.
    """
    conflicts = plan_conflicts(checkpoint, msgspec.to_builtins(plan))
    if conflicts:
        raise InputError(name, f"was trained with another plan: {conflicts}", "one plan for all networks", MEND)
    try:
        known = {key: value for key, value in checkpoint.settings.items() if key in _FIELDS}
        settings = msgspec.convert(known, NetworkSettings)
        network = SCUNet(settings.base_features, settings.norm, settings.edges, settings.packing)
        own = {key: value.dtype for key, value in network.state_dict().items()}
        network.load_state_dict(checkpoint.network)
        if any(value.dtype != own[key] for key, value in checkpoint.network.items()):
            raise TypeError("a number of another kind")  # which torch would turn into the right kind without a word
    except (msgspec.ValidationError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(name, "weights do not fit their settings", "an unchanged checkpoint", MEND) from error
    if not all(bool(torch.isfinite(weights).all()) for weights in network.state_dict().values()):
        raise InputError(name, "weights that are NaN or infinite", "a training that did not diverge", MEND)
    return network, settings


def _network(checkpoint: Checkpoint, fold: int, name: str, device: Device, plan: Plan, keeps: bool) -> FoldNetwork:
    network, settings = trained_network(checkpoint, name, plan)
    mark = mark_of(network)
    offsets = None if checkpoint.offsets is None else tuple(checkpoint.offsets)
    network = device.put_network(network).eval()
    exact = _quickest(network, settings.norm, device.in_float32())
    quick = exact if device.precision == "fp32" else _quickest(network, settings.norm, device)
    own = FoldNetwork(
        fold,
        quick,
        device,
        window_of(settings),
        offsets,
        _bytes_per_voxel(settings, exact.bytes_per_voxel_feature),
        None if quick is exact else exact,
        mark,
    )
    if not keeps or settings.edges == "off":
        return own
    from bisc.network.edge_view import EDGE_BRANCHES, EdgeView  # not on a plain mask's path

    memory = _bytes_per_voxel(settings, EdgeView.bytes_per_voxel_feature)
    alike = replace(own, device=device.in_float32(), bytes_per_voxel=memory, exact=None)
    return replace(own, edges=tuple(replace(alike, network=EdgeView(network, branch)) for branch in EDGE_BRANCHES))


def _bytes_per_voxel(settings: NetworkSettings, of_feature: float) -> float:
    unpacking = 0.0 if settings.packing == 1 else UNPACKING_BYTES
    return settings.base_features * of_feature / settings.packing**2 + unpacking


def _quickest(network: SCUNet, norm: Norm, device: Device) -> SCUNet | FoldedSCUNet:
    """Batch norm folds into the convolutions; instance norm, which depends on the image, cannot."""
    if norm == "batch":
        return fold_norms(network, device)
    return network if device.precision == "fp32" else with_diffused_weights(network, device.dtype)


def window_of(settings: NetworkSettings) -> IntTriple | None:
    """What a network sees at a time, in voxels; None: a region in one piece.

    The training patch slides over a volume, but for a fine network with batch norm, which sees an ROI whole.

    Instance norm takes its statistics from what it sees: over a whole ROI they are not those of a patch, and kidney
    Dice fell from 0.91 to 0.78 (docs/lab/method.md). Batch norm's are frozen. The rough stage's windows span the image
    in plane and bound the memory of a long scan.
    """
    return None if settings.stage == "fine" and settings.norm == "batch" else settings.patch_size_zyx
