"""DICOM SEG read back: kidneys and tumours of a segmentation that a viewer has edited, as one label map."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bisc.core import labels as canonical
from bisc.core.errors import InputError
from bisc.core.geometry import as_triple
from bisc.core.volume import NativeGrid
from bisc.imageio.case import CaseImage
from bisc.imageio.formats.dicom.elements import is_dicom
from bisc.imageio.label_names import CYST, KIDNEY, NAMES, TUMOR
from bisc.imageio.plausible import straight_grid
from bisc.system.console import notice

STORAGES: Final = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage, Label Map Segmentation Storage."""
VALUES: Final = {KIDNEY: canonical.KIDNEY, CYST: canonical.KIDNEY, TUMOR: canonical.TUMOR}
"""Cysts count as kidney, KiTS19's convention."""
SIDES: Final = re.compile(r"\b(left|right|middle|lt|rt|l|r)\b|[\d()]")
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


def read_segmentation(path: Path) -> CaseImage:
    """A SEG as uint8 labels, 0 background, 1 kidney, 2 tumour, on the grid of its own frames.

    It holds the slices alone that have a segment, so a slice of background is added at both ends; where a tumour and a
    kidney overlap the tumour counts. Segments of anything else are passed over with a notice.

    Raises:
        InputError: If it is damaged or fractional, its frames make no straight stack, or no segment is a kidney or a
            tumour by its name or its code.
    """
    import highdicom as hd
    from pydicom.errors import InvalidDicomError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that are looked at here
            seg = hd.seg.segread(path)
            found = _meanings(path, seg)
            volume = seg.get_volume(segment_numbers=list(found), skip_overlap_checks=True)
    except InputError:
        raise
    except (InvalidDicomError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, OSError) as error:
        reason = f"cannot be read as a segmentation ({error})"
        raise InputError(path, reason, "a DICOM SEG of one straight stack", "export it again") from error
    array = _labels(volume.array, found)
    room = np.pad(array, [(1, 1), (0, 0), (0, 0)])
    affine = np.asarray(volume.affine)
    spacing_mm_zyx = as_triple(np.linalg.norm(affine[:3, :3], axis=0))
    origin = affine[:3, 3] - affine[:3, 0]  # of the slice that was added before the first
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


def _meanings(path: Path, seg: Any) -> dict[int, str]:
    """Of each segment that is one, kidney, tumour or cyst."""
    if str(seg.SegmentationType) == "FRACTIONAL":
        raise InputError(path, "is a fractional segmentation", "a binary one, or a label map", "export it as binary")
    found, others = {}, []
    for number in seg.segment_numbers:
        one = seg.get_segment_description(number)
        names = [str(one.segment_label), str(one.segmented_property_type.meaning)]
        meant = meaning_of_names(names)
        if meant is None:
            others.append(" / ".join(names))
        else:
            found[int(number)] = meant
    if not found:
        raise InputError(path, f"segments {'; '.join(others) or 'none'}", EXPECTED, "rename them in the viewer")
    if others:
        notice(path, f"segments {'; '.join(others)}", "passed over: neither kidney nor tumour")
    return found


def meaning_of_names(names: Iterable[str]) -> str | None:
    """Kidney, tumour or cyst by the first name that is known, whatever side or number stands in it; else None."""
    for name in names:
        plain = re.sub(r"[\W_]+", "", SIDES.sub(" ", name.lower()))
        meant = NAMES.get(plain)
        if meant in VALUES:
            return meant
    return None


def _labels(planes: npt.NDArray[Any], found: Mapping[int, str]) -> npt.NDArray[np.uint8]:
    """(frames, rows, columns) of (frames, rows, columns, segments)."""
    out = np.zeros(planes.shape[:3], np.uint8)
    for i, meant in enumerate(found.values()):
        np.maximum(out, np.where(planes[..., i] > 0, VALUES[meant], 0).astype(np.uint8), out=out)
    return out
