"""DICOM SEG read back: kidneys and tumours of a segmentation that a viewer has edited, as one label map."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core import labels as canonical
from bisc.core.errors import InputError
from bisc.core.geometry import Geometry, Triple, as_triple
from bisc.core.volume import NativeGrid
from bisc.imageio.case import CaseImage
from bisc.imageio.formats.dicom.elements import is_dicom
from bisc.imageio.formats.dicom.segment_frames import check_frames, check_whole, settle_bits
from bisc.imageio.formats.dicom.segment_names import (
    VALUES,
    contradiction,
    is_by_type,
    is_clear,
    is_joint,
    meaning_of_segment,
)
from bisc.imageio.plausible import straight_grid
from bisc.system.console import notice

STORAGES: Final = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage, Label Map Segmentation Storage."""
THICKER: Final = 1.2
"""Slices that lie farther apart than so many thicknesses may have others between them."""
CUT_SLICES: Final = 2.0
"""A kidney that would go on by more slices than so beyond the SEG's end is cut off there."""
EXPECTED: Final = "segments named kidney and tumor, with a side or a number or without"


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM SEG, by its header."""
    if not path.is_file() or not is_dicom(path):
        return False
    from bisc.imageio.formats.dicom.tags import read_header, text

    try:
        return text(path, read_header(path), "SOPClassUID") in STORAGES
    except InputError:
        return False


def series_of_segmentation(path: Path) -> tuple[list[str], str]:
    """SeriesInstanceUIDs of what a SEG says that it is of, and its FrameOfReferenceUID; empty where it says none."""
    from bisc.imageio.formats.dicom.tags import items, read_header, text

    data = read_header(path)
    series = [text(path, item, "SeriesInstanceUID") for item in items(path, data, "ReferencedSeriesSequence")]
    return [uid for uid in series if uid], text(path, data, "FrameOfReferenceUID")


def read_segmentation(path: Path, on: Geometry | None = None) -> CaseImage:
    """A SEG as uint8 labels, 0 background, 1 kidney, 2 tumour, on the grid of its own frames.

    It holds the slices alone that have a segment, so a slice of background is added at both ends; but not where there
    is no image to tell that the scan goes on and a kidney does not end there as kidneys do: it is cut off. Where tumour
    and kidney overlap the tumour counts. Segments of anything else are passed over with a notice.

    Args:
        path: The file.
        on: The grid of its image, which tells how far slices lie apart where the SEG does not.

    Raises:
        InputError: If it is damaged or holds parts of voxels, its frames make no straight stack, how far they lie apart
            or whose they are is not known, or no segment is a kidney or a tumour by its name or its code.
    """
    import highdicom as hd
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    from bisc.imageio.formats.dicom.stack import OFF_PLACE

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that are looked at here
            data = dcmread(path)
            settle_bits(path, data)
            _settle_step(path, data, on)
            seg = hd.seg.Segmentation.from_dataset(data, copy=False)
            check_frames(path, seg)
            found = _meanings(path, seg)
            volume = seg.get_volume(
                segment_numbers=list(found), skip_overlap_checks=True, rtol=OFF_PLACE, rescale_fractional=False
            )
            check_whole(path, seg, volume.array)
    except InputError:
        raise
    except (InvalidDicomError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, OSError) as error:
        reason = f"cannot be read as a segmentation ({error})"
        raise InputError(path, reason, "a DICOM SEG of one straight stack", "export it again") from error
    array = _labels(volume.array, found)
    affine = np.asarray(volume.affine)
    spacing_mm_zyx = as_triple(np.linalg.norm(affine[:3, :3], axis=0))
    before, behind = (int(on is not None or not _is_cut(planes, spacing_mm_zyx)) for planes in (array, array[::-1]))
    if not before or not behind:
        notice(
            path, "a kidney is wide in the first or last slice of the SEG", "taken as cut off there; -i tells better"
        )
    room = np.pad(array, [(before, behind), (0, 0), (0, 0)])
    origin = affine[:3, 3] - before * affine[:3, 0]  # of the slice that was added before the first
    direction = (affine[:3, :3] / spacing_mm_zyx)[:, ::-1]
    geometry = straight_grid(
        path, room.shape[::-1], spacing_mm_zyx[::-1], as_triple(origin), tuple(direction.ravel().tolist())
    )
    native = NativeGrid.of(geometry)
    return CaseImage(path, native.to_canonical(room), native)


def on_frames_of(image: CaseImage, labels: CaseImage) -> CaseImage:
    """The labels of a SEG, which holds some of an image's slices, on the whole of its grid.

    Raises:
        InputError: If the voxels do not lie on the image's.
    """
    ours, theirs = image.volume.geometry, labels.volume.geometry
    corner = ours.physical_to_index(theirs.corners())
    start = np.rint(corner[0]).astype(int)
    part = ours.cropped(start.tolist(), theirs.shape_zyx)
    if not part.is_same_grid(theirs):
        found = f"does not lie on the voxels of {image.path}: {theirs.describe()}"
        raise InputError(labels.path, found, f"a segmentation of it: {ours.describe()}", "give its own image")
    out = np.zeros(ours.shape_zyx, np.uint8)
    low, high = np.maximum(start, 0), np.minimum(start + theirs.shape_zyx, ours.shape_zyx)
    inside = labels.volume.array[tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))]
    if np.count_nonzero(inside) != np.count_nonzero(labels.volume.array):
        raise InputError(labels.path, f"reaches beyond {image.path}", "a segmentation of it", "give its own image")
    out[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = inside
    return CaseImage(labels.path, image.volume.with_array(out), image.native)


def _is_cut(labels: npt.NDArray[np.uint8], spacing_mm_zyx: Triple) -> bool:
    """Whether what reaches the first of (z, y, x) slices seems to go on beyond it.

    By as much as an ellipsoid would, as in `bisc.preprocessing.kidneys`: 477 poles of KiTS19's kidneys by 1.6 slices at
    most in 99 of 100 (2.5 once); where they were cut at 10 to 60 % of their length, by 1.8 slices and more in 99 of
    100, in half of them by 7.
    """
    parts, _ = ndimage.label(labels, structure=canonical.CONNECT_26)
    for number in set(np.unique(parts[0]).tolist()) - {0}:
        areas = np.count_nonzero(parts == number, axis=(1, 2))
        is_kidney = areas.sum() * np.prod(spacing_mm_zyx) / 1000.0 >= canonical.MIN_KIDNEY_ML
        lacking_mm = canonical.HALF_LENGTH_MM * (1.0 - np.sqrt(1.0 - areas[0] / areas.max()))
        if is_kidney and lacking_mm > CUT_SLICES * spacing_mm_zyx[0]:
            return True
    return False


def _settle_step(path: Path, seg: Any, on: Geometry | None) -> None:
    """SpacingBetweenSlices, which a SEG need not have: without it highdicom takes 1 mm, or the smallest gap. Where it
    is there, and no two slices are as near as that, positions and thickness may contradict it."""
    groups = (seg.SharedFunctionalGroupsSequence[0], *seg.PerFrameFunctionalGroupsSequence)

    def every(name: str) -> list[Any]:
        return [group[name].value[0] for group in groups if group.get(name)]

    measures = every("PixelMeasuresSequence")
    turn = np.asarray(every("PlaneOrientationSequence")[0].ImageOrientationPatient, dtype=float)
    normal = np.cross(turn[:3], turn[3:])
    at = [np.asarray(one.ImagePositionPatient, dtype=float) @ normal for one in every("PlanePositionSequence")]
    gaps_mm = np.diff(np.unique(np.round(at, 3)))
    thick_mm = float(measures[0].get("SliceThickness") or 0.0)
    said_mm = min(float(one.get("SpacingBetweenSlices") or 0.0) for one in measures)
    apart_mm = float(gaps_mm.min(initial=np.inf))
    if said_mm and (not gaps_mm.size or apart_mm <= THICKER * said_mm):
        return
    if said_mm and on is None:
        found = f"SpacingBetweenSlices (0018,0088) is {said_mm:.4g} mm, and no slices lie nearer than {apart_mm:.4g} mm"
        if apart_mm > THICKER * thick_mm:
            notice(path, found, "read with empty slices between them; make sure that none is missing")
            return
        notice(path, found, f"taken as the positions and the thickness of {thick_mm:.4g} mm say")
    if on is not None:
        step_mm = on.spacing_mm_zyx[2 - int(np.argmax(np.abs(normal @ on.direction_matrix)))]
    elif thick_mm and not gaps_mm.size:
        step_mm = thick_mm
        notice(path, "one slice, and no SpacingBetweenSlices (0018,0088)", f"taken as {thick_mm:.4g} mm, its thickness")
    elif thick_mm and apart_mm <= THICKER * thick_mm:
        step_mm = float(np.median(gaps_mm[gaps_mm < 1.5 * apart_mm]))
    else:
        gap = f", its nearest slices {apart_mm:.4g} mm apart" if gaps_mm.size else ""
        thick = f"slices {thick_mm:.4g} mm thick" if thick_mm else "no SliceThickness"
        raise InputError(path, f"no SpacingBetweenSlices (0018,0088), {thick}{gap}", "it", "give its image as well")
    for one in measures:
        one.SpacingBetweenSlices = f"{step_mm:.10g}"


def _meanings(path: Path, seg: Any) -> dict[int, str]:
    """Of each segment that is one, kidney, tumour or cyst."""
    found, others, by_type, joint = {}, list[str](), list[str](), list[str]()
    for number in seg.segment_numbers:
        one = seg.get_segment_description(number)
        label, kind, code = (
            str(text)
            for text in (one.segment_label, one.segmented_property_type.meaning, one.segmented_property_type.value)
        )
        regions = [*one.anatomic_regions, *one.primary_anatomic_structures]
        told = f"{label} / {kind}" + "".join(f" in {region.meaning}" for region in regions)
        meant = meaning_of_segment(label, kind, [(str(region.value), str(region.meaning)) for region in regions], code)
        if meant is None:
            others.append(told)
            continue
        _tell_of_contradiction(path, told, contradiction(label, kind, code), is_clear(label))
        found[int(number)] = meant
        if is_by_type(label, kind):
            by_type.append(told)
        if is_joint(label, kind, code):
            joint.append(told)
    if not found:
        raise InputError(path, f"segments {'; '.join(others) or 'none'}", EXPECTED, "rename them in the viewer")
    if others:
        notice(path, f"segments {'; '.join(others)}", "passed over: no kidney, and no tumour of one, by name and code")
    if by_type:
        notice(path, f"segments {'; '.join(by_type)}", "counted by what stands after the name, which is not known")
    if joint:
        notice(path, f"segments {'; '.join(joint)}", "counted as kidney, with what lies in it; rename what is a tumour")
    return found


def _tell_of_contradiction(path: Path, told: str, found: str, counts: bool) -> None:
    """Refuse one, but not where the label is clear: then it counts."""
    if found and not counts:
        raise InputError(path, f"segment {told}: {found}", "one meaning", "name it as its type says, in the viewer")
    if found:
        notice(path, f"segment {told}: {found}", "counted by its label")


def _labels(planes: npt.NDArray[Any], found: Mapping[int, str]) -> npt.NDArray[np.uint8]:
    """(frames, rows, columns) of (frames, rows, columns, segments)."""
    out = np.zeros(planes.shape[:3], np.uint8)
    for i, meant in enumerate(found.values()):
        np.maximum(out, np.where(planes[..., i] > 0, VALUES[meant], 0).astype(np.uint8), out=out)
    return out
