"""What a stage crops training patches from, on disk.

The image is a memory-mapped .npy of a byte a voxel: of all forms the quickest to cut from, and shared between loader
processes. Of the targets, nearly all background, the box around what is marked is kept, packed by LZ4 and unpacked
for each patch that meets it (docs/performance.md has the forms that were measured).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import lz4.frame
import numpy as np
import numpy.typing as npt

from bisc.core.box import Box
from bisc.core.errors import InputError
from bisc.core.geometry import IntTriple, Triple, as_int_triple
from bisc.core.labels import KIDNEY, TUMOR, labels_of
from bisc.core.limits import Count, SpacingMm
from bisc.preprocessing.resample import Intensity, input_of_levels
from bisc.system.jsonfile import Document

MEND: Final = "run bisc_plan_and_preprocess again"
MAX_POINTS: Final = 2000
"""Voxels remembered per class and region, for foreground oversampling."""
MOST_PACKED: Final = 255
"""LZ4 packs no more bytes into one."""
HEADER_BYTES: Final = 32
"""More than a frame's header has."""
Voxels = npt.NDArray[np.uint8]


class Marked(Document, frozen=True):
    """The smallest box around the voxels that are not background."""

    start_zyx: IntTriple
    stop_zyx: IntTriple

    def to_box(self) -> Box:
        """Raises ValueError where it is empty."""
        return Box(self.start_zyx, self.stop_zyx)


class RegionRecord(Document, frozen=True):
    """One cached region: its size, where its targets are, and how many voxels of each class it holds."""

    shape_zyx: tuple[Count, Count, Count]
    spacing_mm_zyx: tuple[SpacingMm, SpacingMm, SpacingMm]
    marked: Marked | None
    kidney_voxels: int
    tumor_voxels: int


@dataclass(frozen=True, eq=False)
class Region:
    """A cached region.

    Attributes:
        stem: Its files are called this and end in what they hold.
        shape_zyx: Voxels of it.
        marked: Where targets are kept; all is background outside, and everywhere where it is None.
        kidney_points: (n, 3) int16 voxels (z, y, x) of label 1.
        tumor_points: (n, 3) int16 voxels of label 2.
    """

    stem: Path
    shape_zyx: IntTriple
    marked: Box | None
    kidney_points: npt.NDArray[np.int16]
    tumor_points: npt.NDArray[np.int16]

    @property
    def levels(self) -> Voxels:
        """(z, y, x) uint8, the image as in bisc.preprocessing.resample; memory-mapped.

        Mapped each time it is asked for (0.1 ms): a map that is kept holds a file open, a data set has more regions
        than a process may have open files.

        Raises:
            InputError: If the file is missing, damaged, or not what the record says.
        """
        voxels = _load(_image(self.stem))
        if voxels.shape != self.shape_zyx or voxels.dtype != np.uint8:
            raise _fault(_image(self.stem), f"{voxels.dtype} voxels of shape {voxels.shape}")
        return voxels

    def image(self, intensity: Intensity) -> npt.NDArray[np.float32]:
        """(z, y, x) network input."""
        return input_of_levels(self.levels, intensity)

    @property
    def targets(self) -> Voxels:
        """(z, y, x) uint8, packed as in bisc.core.labels, of the whole region."""
        return self.targets_in(Box.of_shape(self.shape_zyx))

    @property
    def targets_file(self) -> Path:
        """Where targets are kept; there is none where nothing is marked."""
        return _targets(self.stem)

    def targets_in(self, window: Box) -> Voxels:
        """`targets` of a window that lies inside; read and unpacked each time they are asked for.

        Raises:
            InputError: If the file is missing or damaged.
        """
        out = np.zeros(window.shape_zyx, np.uint8)
        marked = self.marked_in(window)
        if marked is not None:
            there, voxels = marked
            out[there.to_slices()] = voxels
        return out

    def marked_in(self, window: Box) -> tuple[Box, Voxels] | None:
        """The part of `targets_in` that may be marked, and where in the window it lies; all else is background.

        Raises:
            InputError: If the file is missing or damaged.
        """
        if self.marked is None:
            return None
        there = self.marked.shifted(as_int_triple(np.negative(window.start_zyx))).clipped(window.shape_zyx)
        if there is None:
            return None
        own = there.shifted(as_int_triple(np.subtract(window.start_zyx, self.marked.start_zyx)))
        return there, _unpacked(self.targets_file, self.marked.shape_zyx)[own.to_slices()]


def save_region(folder: Path, number: int, levels: Voxels, targets: Voxels, spacing_mm_zyx: Triple) -> RegionRecord:
    """Write the files of a case's region `number`; `load_region` reads them by the record.

    Args:
        folder: Of the case.
        number: From 0 on.
        levels: (z, y, x) image.
        targets: (z, y, x), packed.
        spacing_mm_zyx: Of both.
    """
    stem = _stem(folder, number)
    np.save(_image(stem), np.ascontiguousarray(levels))  # numpy keeps the order of memory: x last is what patches read
    box = Box.of_mask(targets)
    if box is not None:
        _targets(stem).write_bytes(lz4.frame.compress(targets[box.to_slices()].tobytes(), block_checksum=True))
    for path, label in ((_kidney_points(stem), KIDNEY), (_tumor_points(stem), TUMOR)):
        np.save(path, _points(targets, label, number))
    counts = np.bincount(labels_of(targets).ravel(), minlength=3)
    z, y, x = targets.shape
    return RegionRecord(
        shape_zyx=(z, y, x),
        spacing_mm_zyx=spacing_mm_zyx,
        marked=None if box is None else Marked(start_zyx=box.start_zyx, stop_zyx=box.stop_zyx),
        kidney_voxels=int(counts[KIDNEY]),
        tumor_voxels=int(counts[TUMOR]),
    )


def load_region(folder: Path, number: int, record: RegionRecord) -> Region:
    """One region, whose arrays are what its record says: training cuts patches at places taken from them.

    Raises:
        InputError: If a file is missing, damaged, or not what the record says.
    """
    stem = _stem(folder, number)
    marked = _marked_box(stem, record)
    if marked is not None:
        _check_size(_targets(stem), marked.shape_zyx)
    points_of_both = (np.array(_load(path)) for path in (_kidney_points(stem), _tumor_points(stem)))
    region = Region(stem, record.shape_zyx, marked, *points_of_both)
    _ = region.levels  # told now, not amid a training
    low, high = ((0, 0, 0), (0, 0, 0)) if marked is None else (marked.start_zyx, marked.stop_zyx)
    for points, n in ((region.kidney_points, record.kidney_voxels), (region.tumor_points, record.tumor_voxels)):
        of_form = points.dtype == np.int16 and points.ndim == 2 and points.shape[1] == 3 and (len(points) > 0 or n < 1)
        if not of_form or not ((points >= low) & (points < high)).all():
            raise _fault(stem.with_name(f"{stem.name}_*_points.npy"), "not the points of its record")
    return region


def _stem(folder: Path, number: int) -> Path:
    return folder / f"region_{number}"


def _image(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}_image.npy")


def _targets(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}_targets.lz4")


def _kidney_points(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}_kidney_points.npy")


def _tumor_points(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}_tumor_points.npy")


def _marked_box(stem: Path, record: RegionRecord) -> Box | None:
    try:
        box = None if record.marked is None else record.marked.to_box()
        if box is None or Box.of_shape(record.shape_zyx).contains(box):
            return box
        found = f"targets marked from {box.start_zyx} to {box.stop_zyx} in {record.shape_zyx} voxels"
    except ValueError as error:
        found = f"marked targets in an {error}"
    raise _fault(stem.with_name("case.json"), found)


def _check_size(path: Path, shape_zyx: IntTriple) -> None:
    """Whether a frame promises the voxels of `shape_zyx`, by its header."""
    try:
        with path.open("rb") as file:
            _check_promise(path, file.read(HEADER_BYTES), path.stat().st_size, shape_zyx)
    except OSError as error:
        raise _fault(path, f"cannot be read ({error})") from error


def _check_promise(path: Path, header: bytes, n_bytes: int, shape_zyx: IntTriple) -> None:
    try:
        promised = lz4.frame.get_frame_info(header)["content_size"]
    except (RuntimeError, ValueError) as error:
        raise _fault(path, f"cannot be read ({error})") from error
    if promised != prod(shape_zyx) or promised > MOST_PACKED * n_bytes:
        raise _fault(path, f"cannot be read ({promised} voxels in {n_bytes} bytes)")


def _unpacked(path: Path, shape_zyx: IntTriple) -> Voxels:
    """The voxels of a frame; LZ4 makes room for what its header promises, so that is looked at first."""
    try:
        frame = path.read_bytes()
        _check_promise(path, frame[:HEADER_BYTES], len(frame), shape_zyx)
        data = lz4.frame.decompress(frame)
    except (OSError, RuntimeError, EOFError) as error:
        raise _fault(path, f"cannot be read ({error})") from error
    if len(data) != prod(shape_zyx):
        raise _fault(path, f"cannot be read (ends after {len(data)} of {prod(shape_zyx)} voxels)")
    return np.frombuffer(data, np.uint8).reshape(shape_zyx)


def _load(path: Path) -> npt.NDArray[Any]:
    try:
        # .npy alone: neither an archive nor pickled objects, both of which np.load would take.
        array: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="r")  # type: ignore[no-untyped-call]
        return array
    except Exception as error:  # numpy parses the header as Python text, and stumbles over it in a dozen ways
        raise _fault(path, f"cannot be read ({error})") from error


def _fault(path: Path, found: str) -> InputError:
    return InputError(path, found, "a whole cache", f"delete {path.parent} and {MEND}")


def _points(targets: Voxels, label: int, seed: int) -> npt.NDArray[np.int16]:
    """Up to `MAX_POINTS` voxels of a label, drawn with a fixed seed."""
    flat = np.flatnonzero(labels_of(targets) == label)
    if flat.size > MAX_POINTS:
        flat = np.sort(np.random.default_rng(seed).choice(flat, MAX_POINTS, replace=False))
    return np.stack(np.unravel_index(flat, targets.shape), axis=1).astype(np.int16)
