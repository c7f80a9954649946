"""Stored values of DICOM frames, made HU frame by frame: each by its own rescale, its own bits and its own sign.

Packed ones (JPEG, JPEG 2000, JPEG-LS, RLE) are decoded by the GDCM in ITK, which knows more forms than pydicom, 12-bit
lossy JPEG among them; but it would apply the first frame's rescale to all. So it is given a file of one frame alone,
whose header holds no more than how its pixels are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from math import ceil, prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from bisc.core.errors import InputError, one_line
from bisc.imageio.formats.dicom.frames import Frame
from bisc.imageio.formats.dicom.packed import PIXEL_TAGS, decoded, frames_in
from bisc.imageio.formats.dicom.tags import (
    BROKEN,
    GE_SWAPPED,
    PACKED,
    check_syntax,
    name_of,
    number,
    read_header,
    syntax_of,
)
from bisc.imageio.plausible import AIR_HU, HU_LIMITS, MAX_EXPANSION, MAX_VOXELS
from bisc.system.console import notice

BIG_ENDIAN: Final = (GE_SWAPPED, ExplicitVRBigEndian)
BRIGHTEST_HU: Final = 3071.0
"""What 12 bits hold. A padding value there or beyond is no tissue, and is made air."""


def read_hu(what: Path, frames: Sequence[Frame]) -> npt.NDArray[np.int16]:
    """The frames' HU, (frames, rows, columns) in their order.

    Raises:
        InputError: If a frame cannot be decoded, promises more than its file can hold, or has no rescale where others
            have one.
    """
    size = (*frames[0].shape_yx[::-1], len(frames))
    n_voxels = prod(size)
    if n_voxels > MAX_VOXELS:
        raise InputError(
            what,
            f"its header promises {' x '.join(map(str, size))} voxels",
            f"at most {MAX_VOXELS}",
            "crop or resample it",
        )
    _check_rescale(frames)
    of_file: dict[Path, list[int]] = {}
    for i, frame in enumerate(frames):
        of_file.setdefault(frame.path, []).append(i)
    hu: npt.NDArray[np.int16] | None = None
    for path, places in of_file.items():
        for i, plane in zip(places, _planes(what, path, [frames[i] for i in places]), strict=True):
            if hu is None:  # not before a first frame was there: headers may promise anything
                hu = np.empty((len(frames), *plane.shape), dtype=np.int16)
            hu[i] = plane
    assert hu is not None  # there is no stack without frames
    return hu


def _check_rescale(frames: Sequence[Frame]) -> None:
    without = [frame for frame in frames if frame.rescale is None]
    if without and len(without) < len(frames):
        found = f"no {name_of('RescaleSlope')} and intercept, which {len(frames) - len(without)} others have"
        raise InputError(without[0].path, found, "every slice's own", "export the series again")


def _planes(what: Path, path: Path, frames: Sequence[Frame]) -> Iterator[npt.NDArray[np.int16]]:
    data = read_header(path, pixels=True)
    syntax = _syntax(path, data)
    _check_promise(path, data, syntax in PACKED)
    with ExitStack() as stack:
        packed = frames_in(path, data, syntax) if syntax in PACKED else []
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bisc-"))) if packed else None
        for frame in frames:
            try:
                if folder is None:
                    stored = _plain(data, syntax, frame.index)
                else:
                    stored = decoded(path, data, syntax, packed[frame.index], folder)
            except InputError:
                raise
            except (*BROKEN, OSError, MemoryError) as error:
                found = f"cannot be decoded ({syntax.name}: {one_line(str(error))[-120:]})"
                raise InputError(path, found, "whole pixels in a form of DICOM", "copy or export it again") from error
            if stored.shape != frame.shape_yx:
                found = f"its pixels are {' x '.join(map(str, stored.shape[::-1]))}, not as Rows and Columns say"
                raise InputError(path, found, "one size", "export it again")
            yield _as_hu(what, stored, data, frame)


def _syntax(path: Path, data: FileDataset) -> UID:
    check_syntax(path, data)
    plain = ExplicitVRLittleEndian if _is_explicit(data) else ImplicitVRLittleEndian
    syntax = UID(syntax_of(data) or plain)
    if not data.get("PixelData"):
        raise InputError(path, "is damaged or no slice (it has no pixels)", "an image", "copy or export it again")
    return syntax


def _is_explicit(data: FileDataset) -> bool:
    return not data.original_encoding[0]


def _check_promise(path: Path, data: Dataset, packed: bool) -> None:
    """Refuse a file whose header promises more than its bytes can hold, packed as tightly as can be; and one that holds
    a row more of plain pixels than its header knows: which of them is right is not guessed."""
    values = {tag: number(path, data, tag) for tag in PIXEL_TAGS}
    allocated, stored, high = (values[tag] or 0 for tag in ("BitsAllocated", "BitsStored", "HighBit"))
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated or high != stored - 1:
        found = f"{allocated:g} bits allocated, {stored:g} stored, the highest {high:g}"
        raise InputError(path, found, "8, 16 or 32 allocated, and the stored ones from bit 0 on", "export it again")
    if values["PixelRepresentation"] not in (0.0, 1.0):
        found = f"{name_of('PixelRepresentation')} is {values['PixelRepresentation']}"
        raise InputError(path, found, "0 or 1", "export it again")
    n = (values["Rows"] or 0) * (values["Columns"] or 0) * (number(path, data, "NumberOfFrames") or 1)
    promised, there = ceil(n * allocated / 8), len(data.PixelData)
    if promised > MAX_EXPANSION * there:
        found = f"its header promises {promised} bytes of pixels, {there} are there"
        raise InputError(path, f"is damaged ({found})", "a whole file", "copy or export it again")
    row = ceil((values["Columns"] or 0) * allocated / 8)
    if not packed and there - promised >= max(row, 2):
        found = f"Rows, Columns and NumberOfFrames speak of {promised} bytes of pixels, {there} are there"
        raise InputError(path, found, "as many pixels as its header says", "export it again")


def _plain(data: FileDataset, syntax: UID, index: int) -> npt.NDArray[Any]:
    """Stored words of a frame of a file whose pixels are not packed, all of their bits."""
    if data.BitsAllocated > 8 or syntax == GE_SWAPPED:
        order = ">" if syntax in BIG_ENDIAN else "<"
        kind = np.dtype(f"{order}{'ui'[int(data.PixelRepresentation)]}{data.BitsAllocated // 8}")
        shape = int(data.Rows), int(data.Columns)
        n, there = prod(shape), len(data.PixelData) // kind.itemsize
        if (index + 1) * n > there:
            raise ValueError(f"{there} pixels are there, {(index + 1) * n} needed for frame {index + 1}")
        return np.frombuffer(data.PixelData, kind, n, index * n * kind.itemsize).reshape(shape)
    if not data.file_meta.get("TransferSyntaxUID"):
        data.file_meta.TransferSyntaxUID = syntax
    many = int(data.get("NumberOfFrames") or 1) > 1
    stored: npt.NDArray[Any] = pixel_array(data, index=index if many else 0, raw=True)
    return stored


def _within(words: npt.NDArray[Any], data: Dataset) -> npt.NDArray[Any]:
    """The values that the lowest BitsStored bits of stored words make, with the header's sign.

    What stands above, old files' overlays, is no part of a value. But a negative number of the whole word is none of
    them: some scanners fill in -3024, and say that 12 bits are stored.
    """
    bits, signed = int(data.BitsStored), bool(data.PixelRepresentation)
    span, half = 1 << bits, 1 << (bits - 1)
    low, high = (-half, half - 1) if signed else (0, span - 1)
    if low <= words.min() and words.max() <= high:
        return words
    wide = words.astype(np.int64)
    values = wide & (span - 1)
    if signed:
        values = np.where((wide < low) & (wide >= -span), wide, (values ^ half) - half)
    return np.asarray(values)


def _as_hu(what: Path, words: npt.NDArray[Any], data: Dataset, frame: Frame) -> npt.NDArray[np.int16]:
    stored, padding = _within(words, data), _padding(frame.path, words, data)
    beyond = None if stored is words else stored != words
    if beyond is not None and (beyond if padding is None else beyond & ~padding).any():
        found = f"its pixels have bits set above {name_of('BitsStored')}, as old files keep overlays"
        notice(what, found, "these bits are no part of a value")
    slope, intercept = frame.rescale or (1.0, 0.0)
    hu: npt.NDArray[Any]
    if slope == 1 and intercept == int(intercept):
        hu = stored.astype(np.int64 if stored.dtype.itemsize > 2 else np.int32) + int(intercept)
    else:
        hu = np.rint(stored * slope + intercept)
    out: npt.NDArray[np.int16] = np.clip(hu, *HU_LIMITS).astype(np.int16)
    if padding is not None:
        bright = np.greater_equal(hu, BRIGHTEST_HU)
        out[padding & (bright if beyond is None else bright | beyond)] = AIR_HU
    return out


def _padding(path: Path, stored: npt.NDArray[Any], data: Dataset) -> npt.NDArray[np.bool_] | None:
    """Where PixelPaddingValue stands, up to PixelPaddingRangeLimit; None where the file has no such tag.

    Writers give it signed or unsigned, whatever the pixels are: its 16 bits count.
    """
    value = number(path, data, "PixelPaddingValue")
    if value is None:
        return None
    limit = number(path, data, "PixelPaddingRangeLimit")
    low, high = sorted(_wrapped(v, stored.dtype) for v in (value, value if limit is None else limit))
    return np.asarray((stored >= low) & (stored <= high))


def _wrapped(value: float, kind: np.dtype[Any]) -> int:
    bits = 8 * kind.itemsize
    wrapped = int(value) % (1 << bits)
    return wrapped - (1 << bits) if kind.kind == "i" and wrapped >= 1 << (bits - 1) else wrapped
