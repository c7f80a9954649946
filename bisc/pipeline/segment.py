"""One image to its masks: what `bisc_predict` and the Python API both do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bisc.core.choices import DECISIONS, DEFAULT_DECISION, Decision, Phase
from bisc.core.errors import InputError
from bisc.core.flags import Flags
from bisc.core.labels import MAX_KIDNEY_ML, TUMOR
from bisc.core.volume import Box, NativeGrid
from bisc.imageio import CaseImage, StoredImage, image_suffix, read_header, read_image, write_image
from bisc.imageio.given import Axes, image_given
from bisc.imageio.plausible import doubt_of_extent, doubt_of_scan
from bisc.imageio.slices import check_scan
from bisc.inference.cascade import CascadeResult, Status, offsets_of, run_cascade, status_of
from bisc.inference.flags import flags_of
from bisc.inference.kept import softmax_of_rois
from bisc.inference.model import Model as Cascade
from bisc.inference.model import load_model as load_cascade
from bisc.inference.windows import within_memory
from bisc.network.device import choose_device
from bisc.pipeline.options import MARK
from bisc.pipeline.study import scan_at
from bisc.preprocessing.kidneys import Side
from bisc.system.console import collecting, notice


@dataclass(frozen=True)
class Roi:
    """Where a kidney was looked for.

    Attributes:
        side: The patient's 'left' or 'right'; 'middle' for a fused kidney, mostly, or one whose side is not known.
        box: Voxels (z, y, x) of the image turned to LPS, whatever its own axis order.
    """

    side: Side
    box: Box


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What was found in one image.

    Attributes:
        labels: uint8, 0 background, 1 kidney, 2 tumour; shape and axis order of what was given: (i, j, k) for a nibabel
            image and an array with an affine, (z, y, x) for an array with a spacing, that of `image.volume` for what
            `bisc.read_image` gave; else that of `SimpleITK.GetArrayFromImage`, also for a path, on the grid that its
            file stores.
        status: 'ok' (kidneys on both sides), 'one_kidney' (a solitary or fused one), 'no_kidney' (a result too).
        rois: Where kidneys were looked for, the larger first.
        kidney_ml: Volume of labels > 0 in ml.
        tumor_ml: Volume of label 2 in ml.
        doubt: Why the mask is doubted, in one line; empty where it is not.
        flags: How far the mask may be trusted: a light, the risk that it is wrong, and every number looked at.
        notes: What was made of the input's oddities, a line each.
        probabilities: float32 (3, *labels.shape), softmax of background, kidney, tumour, where it was asked for;
            outside of all ROIs (1, 0, 0). Else None.
        choice: Of a DICOM study, which series was taken, and why the others were not.
    """

    labels: npt.NDArray[np.uint8]
    status: Status
    rois: tuple[Roi, ...]
    kidney_ml: float
    tumor_ml: float
    doubt: str
    flags: Flags
    notes: tuple[str, ...] = ()
    probabilities: npt.NDArray[np.float32] | None = None
    choice: str = ""
    native: NativeGrid = field(repr=False, kw_only=True)
    axes: Axes = field(default="zyx", repr=False, kw_only=True)

    def save(self, path: str | Path) -> None:
        """Write the labels on the image's own grid; the suffix (.nii.gz, .nii, .nrrd, .mha) names the format.

        Raises InputError if the file cannot be written, or its name tells none of these formats.
        """
        write_image(Path(path), _canonical(self.labels, self.axes, self.native), self.native, note=MARK)


@dataclass(frozen=True, eq=False)
class Model:
    """A trained cascade, its weights in memory: for any number of images, and of threads at a time."""

    cascade: Cascade

    def segment(
        self,
        image: object,
        *,
        spacing: Sequence[float] | None = None,
        affine: npt.ArrayLike | None = None,
        decision: Decision = DEFAULT_DECISION,
        probabilities: bool = False,
        series: str | None = None,
        phase: Phase | None = None,
    ) -> Segmentation:
        """Find kidneys and their tumours in one CT.

        Args:
            image: A path (a file, or a folder with one DICOM study), a SimpleITK or nibabel image, what
                `bisc.read_image` gives, or an array in HU.
            spacing: Of an array whose axes are (z, y, x) in LPS (towards the head, the back, the patient's left), in mm
                in this order.
            affine: Of an array with axes (i, j, k): (4, 4), from voxel index to RAS mm, as nibabel has it.
            decision: 'calibrated', or 'argmax', the paper's.
            probabilities: Keep the softmax too: 12 bytes a voxel.
            series: SeriesInstanceUID of the series to take of a study; None takes the one that suits best.
            phase: 'late', 'early' or 'plain': the contrast phase to take of a study, likewise.

        Raises:
            InputError: If the image cannot be used: damaged, not in HU, NaN, no place in the patient.
            WorkError: If the networks mark more than any patient has, or the memory that is free does not hold their
                smallest windows.

        Example:
            >>> result = model.segment("ct.nii.gz")
            >>> result.save("mask.nii.gz")
        """
        if decision not in DECISIONS:
            raise InputError("decision", repr(decision), " or ".join(DECISIONS))
        with collecting(quiet=True) as notes:
            cascade = self.cascade
            axes: Axes = "zyx"
            choice = ""
            if isinstance(image, str | Path) and spacing is None and affine is None:
                scan = scan_at(Path(image), series, phase, cascade)
                cascade = within_memory(cascade, scan.path, size=scan.size() if scan.choice else None)
                choice = scan.told
                case = scan.read()
            else:
                if series is not None or phase is not None:
                    raise InputError("series" if phase is None else "phase", "given of no path", "a DICOM study's path")
                case, axes = image_given(image, spacing, affine)
                size = StoredImage(case.volume.geometry.shape_zyx, n_bytes=0, streamed=True)  # it is in memory
                cascade = within_memory(cascade, case.path, size=size)
            found, result = segment_case(case, cascade, decision)
        softmax = _as_given(softmax_of_rois(result.native, case.native), axes, case.native) if probabilities else None
        labels = _as_given(found.labels, axes, case.native)
        return replace(found, labels=labels, notes=tuple(notes), probabilities=softmax, choice=choice, axes=axes)


def load_model(
    source: str | Path,
    folds: Sequence[int] | None = None,
    device: str | None = None,
    precision: str = "auto",
    mirror: bool = False,
    postprocess: bool = True,
    check_edges: bool = False,
) -> Model:
    """Read a trained cascade once, for any number of images.

    Args:
        source: A .zip of `bisc_model export`, or a results folder of `bisc_train`.
        folds: Folds whose softmax is averaged; None takes all that are finished.
        device: 'cpu', 'cuda' or 'cuda:N'; None takes CUDA where there is one.
        precision: Of the fine stage: 'fp32' (exact), 'bf16', 'fp16', or 'auto', the quickest that the hardware has.
        mirror: See every kidney left for right too, and average: a little better, twice the time.
        postprocess: Drop small tumours where `bisc_evaluate -d` chose so; the rule is `Model.cascade.postprocessing`.
        check_edges: Flags compare outlines with what the edge branches see: three times the time.

    Raises:
        InputError: If the model or the device is not there, or cannot be used.

    Example:
        >>> model = bisc.load_model("model.zip")
    """
    if folds is not None and (np.ndim(folds) != 1 or not folds):
        raise InputError("folds", repr(folds), "a list of one fold number or more, or None for all")
    if not Path(source).exists():
        raise InputError(source, "does not exist", "a model's .zip, or a results folder", "train or export it")
    cascade = load_cascade(Path(source), folds, choose_device(device, precision), postprocess, check_edges)
    return Model(replace(cascade, mirror=mirror))


def segment(image: object, model: str | Path | Model, **how: Any) -> Segmentation:
    """`load_model` and `Model.segment` in one; for several images load the model once.

    Args:
        image: As for `Model.segment`.
        model: One, or where one lies.
        how: As for `Model.segment`: spacing, affine, decision, probabilities, series, phase.

    Raises:
        InputError: As both.

    Example:
        >>> result = bisc.segment("ct.nii.gz", model="model.zip")
    """
    return (model if isinstance(model, Model) else load_model(model)).segment(image, **how)


def write_labels(
    path: str | Path,
    labels: Segmentation | npt.NDArray[np.integer[Any]],
    like: Segmentation | CaseImage | str | Path | None = None,
) -> None:
    """Write a label map on its image's own grid.

    Args:
        path: Its suffix (.nii.gz, .nii, .nrrd, .mha) names the format.
        labels: What `segment` gave, or an array of 0, 1, 2 that lies as `like` does.
        like: For an array: the result whose `labels` it was made of; or the image it is of, as `read_image` gave it
            (then the array lies as its `volume`), or by its path (then as `segment(path).labels`, which is how
            SimpleITK reads the file).

    Raises:
        InputError: If the file cannot be written, or the array is no label map on the grid of `like`.

    Example:
        >>> bisc.write_labels("mask.nii.gz", result)
        >>> bisc.write_labels("kidneys.nii.gz", result.labels.clip(0, 1), like=result)
    """
    if isinstance(labels, Segmentation):
        return labels.save(path)
    if like is None:
        raise InputError(path, "labels without their image", "the image they are of", "give like=image")
    array, native, axes = np.asarray(labels), *_grid_of(like)
    expected = _as_given(np.broadcast_to(np.uint8(0), native.geometry.shape_zyx), axes, native).shape
    if array.shape != expected or array.dtype.kind not in "iub" or not np.isin(array, (0, 1, 2)).all():
        found = f"an array of shape {array.shape}, {array.dtype}"
        raise InputError(path, found, f"shape {expected}, whole numbers 0, 1, 2", "give labels that lie as like does")
    return write_image(Path(path), _canonical(array.astype(np.uint8), axes, native), native)


def _grid_of(like: Segmentation | CaseImage | str | Path) -> tuple[NativeGrid, Axes]:
    if isinstance(like, Segmentation):
        return like.native, like.axes
    if isinstance(like, CaseImage):
        return like.native, "canonical"
    image = read_image(like) if Path(like).is_dir() or image_suffix(Path(like)) is None else read_header(Path(like))
    return image.native, "zyx"


def segment_case(image: CaseImage, model: Cascade, decision: Decision) -> tuple[Segmentation, CascadeResult]:
    """The masks of one image that was read, and the softmax they were decided from.

    Raises:
        InputError: As `check_scan`.
        RoughExcess: If the rough stage marks more than any patient has.
    """
    check_scan(image)
    result = run_cascade(image.volume, model, decision)
    offsets = offsets_of(model.fine, decision)
    labels, apart_ml = result.decided(offsets)
    ml = image.volume.geometry.voxel_volume_ml
    labels = model.postprocessed(labels, ml, decision, image.path)
    kidneys = result.kidneys(labels)
    if apart_ml:
        notice(image.path, f"{apart_ml:.1f} ml found apart from both kidneys, called tumour or far away", "left out")
    kidney_ml = round(np.count_nonzero(labels) * ml, 3)
    return Segmentation(
        labels=image.native.to_stored(labels),
        status=status_of(kidneys),
        rois=tuple(Roi(r.kidney.side, n.box) for r, n in zip(result.rois, result.native, strict=True)),
        kidney_ml=kidney_ml,
        tumor_ml=round(np.count_nonzero(labels == TUMOR) * ml, 3),
        doubt=doubt_of(kidney_ml) or doubt_of_extent(image) or doubt_of_scan(image),
        flags=flags_of(result, labels, kidneys, offsets_of(model.rough, decision), offsets),
        native=image.native,
    ), result


def _as_given(stored: npt.NDArray[Any], axes: Axes, native: NativeGrid) -> npt.NDArray[Any]:
    """A (..., z, y, x) array of the stored grid in the giver's axis order; a view."""
    if axes == "canonical" and stored.ndim == 4:  # `apply` keeps what trails
        return np.moveaxis(native.order.apply(np.moveaxis(stored, 0, -1)), -1, 0)
    if axes == "canonical":
        return native.order.apply(stored)
    return stored if axes == "zyx" else np.moveaxis(stored, (-3, -1), (-1, -3))


def _canonical(given: npt.NDArray[Any], axes: Axes, native: NativeGrid) -> npt.NDArray[Any]:
    """Labels in the giver's axis order as a canonical array."""
    stored = given if axes == "zyx" else given.transpose()
    return given if axes == "canonical" else native.to_canonical(stored).array


def doubt_of(kidney_ml: float) -> str:
    """Why a mask of this volume in ml is doubted; empty where it is not."""
    if kidney_ml <= MAX_KIDNEY_ML:
        return ""
    return (
        f"implausible: {kidney_ml:.0f} ml of kidney and tumour, expected at most {MAX_KIDNEY_ML:.0f} ml; the model "
        "does not know images like this one: look at the mask, and train on similar scans"
    )
