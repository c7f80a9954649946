"""`model.json` of a model file: what a model is, what it was trained on and tried on, and its members' checksums."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from bisc.core.choices import Decision, Edges, Stage
from bisc.core.labels import N_CLASSES
from bisc.core.limits import Count, Edge, Features, Norm, Packing
from bisc.inference.postprocessing import Postprocessing
from bisc.planners.plan import Plan
from bisc.system.jsonfile import Document

FORMAT_VERSION: Final = 2
"""Archives of checkpoints, which earlier versions wrote, count as 1 and hold no such document."""
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Line = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=4000)]
Number = Annotated[int, Meta(ge=0, le=10**9)]
Value = Annotated[float, Meta(ge=-1e12, le=1e12)]
Offsets = Annotated[list[Value], Meta(min_length=N_CLASSES, max_length=N_CLASSES)]
FoldNumber = Annotated[int, Meta(ge=0, le=9999)]


class Spread(Document, frozen=True):
    """What a data set's cases have along (z, y, x): each axis's least, median and greatest value."""

    least: tuple[Value, Value, Value]
    median: tuple[Value, Value, Value]
    most: tuple[Value, Value, Value]


class TrainingData(Document, frozen=True):
    """The cases for training and validation together. None: not known where the model was exported."""

    dataset: Line
    n_cases: Count
    label_note: Text
    n_with_tumor: Number | None = None
    n_simulated: Number | None = None
    n_real: Number | None = None
    simulation: Line = ""
    """Of simulated cases, by what; empty where none is known to be."""
    spacing_mm_zyx: Spread | None = None
    shape_zyx: Spread | None = None


class Score(Document, frozen=True):
    """A row of a report's summary; None where no case has a value."""

    metric: Line
    n: Number
    mean: Value | None
    std: Value | None
    median: Value | None


class Trial(Document, frozen=True):
    """Figures of an evaluation.

    Attributes:
        name: What the cases were, in the words of whoever exported the model.
        scores: A row per metric.
        n_failed: Cases that failed or were missing.
    """

    name: Line
    scores: list[Score]
    n_failed: Number


class Validation(Document, frozen=True):
    """A fold's own validation cases, through the whole cascade of that fold.

    Attributes:
        fold: Its number.
        decision: The rule from probabilities to labels; the offsets of 'calibrated' were fitted on these same cases.
        scores: A row per metric.
        n_failed: Cases that failed or were missing.
        checked: Whether the results folder said that the figures rest on these very weights; older ones do not say.
    """

    fold: FoldNumber
    decision: Decision
    scores: list[Score]
    n_failed: Number
    checked: bool


class NetworkEntry(Document, frozen=True):
    """One network: its member of the file, and what shapes it.

    Attributes:
        stage: 'rough' or 'fine'.
        fold: Its number.
        file: The member that holds its weights.
        sha256: Of that member.
        n_bytes: Of that member.
        base_features: Its width; with norm, edges and packing as `bisc.network.SCUNet` takes them.
        patch_size_zyx: The patch it was trained on, in voxels.
        offsets: Logit offsets per class for the calibrated decision; None where none were fitted.
        preset: Of its training; empty where the checkpoint did not say so, as for loss.
        loss: By name.
        steps: Optimiser steps it was trained for.
    """

    stage: Stage
    fold: FoldNumber
    file: Annotated[str, Meta(pattern=r"^(rough|fine)/fold_[0-9]{1,4}\.safetensors$")]
    sha256: Digest
    n_bytes: Count
    base_features: Features
    norm: Norm
    patch_size_zyx: tuple[Edge, Edge, Edge]
    edges: Edges
    packing: Packing
    offsets: Offsets | None
    preset: Line
    loss: Line
    steps: Number


class ModelRecord(Document, frozen=True):
    """What `model.json` holds.

    Attributes:
        format_version: Of the file.
        package_version: Of bisc-unet, which wrote it.
        torch_version: Of the torch that the weights were exported with.
        plan: Everything the data set decided: spacings, intensities, ROI sides.
        networks: Both stages' of each fold.
        training: What it was trained on.
        validation: Scores per fold and decision, where the folds were validated.
        tried_on: Figures of other evaluations, as given when it was exported.
        licence: Under which the weights may be used, as given; empty: not stated.
        notes: Whatever else its maker wanted to say.
        postprocessing: What cross-validation chose of these very networks; None where it did not.
    """

    format_version: Literal[2]
    package_version: Line
    torch_version: Line
    plan: Plan
    networks: Annotated[list[NetworkEntry], Meta(min_length=2, max_length=200)]
    training: TrainingData
    validation: Annotated[list[Validation], Meta(max_length=200)]
    tried_on: Annotated[list[Trial], Meta(max_length=200)]
    licence: Line
    notes: Annotated[list[Text], Meta(max_length=100)]
    postprocessing: Postprocessing | None = None
