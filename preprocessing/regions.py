"""What a stage crops training patches from, on disk.

The image is a memory-mapped .npy of a byte a voxel: of all forms the quickest to cut from, and shared between loader
processes. Of the targets, nearly all background, the box around what is marked is kept, packed by LZ4 and unpacked
for each patch that meets it (docs/lab/performance.md has the forms that were measured).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, Final

import lz4.frame
import numpy as np
import numpy.typing as npt

from bisc.core.errors import InputError
from bisc.core.geometry import IntTriple, Triple, as_int_triple
from bisc.core.labels import KIDNEY, TUMOR, labels_of
from bisc.core.limits import Count, SpacingMm
from bisc.core.volume import Box
from bisc.preprocessing.resample import Intensity, input_of_levels
from bisc.system.jsonfile import Document

MEND: Final = "run bisc_plan_and_preprocess again"
MAX_POINTS: Final = 2000
"""Voxels remembered per class and region, for foreground oversampling."""
MOST_PACKED: Final = 255
"""LZ4 packs no more bytes into one."""
HEADER_BYTES: Final = 32
"""More than a frame's header has."""
POINTS: Final = {KIDNEY: "kidney_points.npy", TUMOR: "tumor_points.npy"}
Voxels = npt.NDArray[np.uint8]


class RegionRecord(Document, frozen=True):
    """One cached region: its size, where its targets are, and how many voxels of each class it holds.

    All is background outside of `marked`, and everywhere where that is None.
    """

    shape_zyx: tuple[Count, Count, Count]
    spacing_mm_zyx: tuple[SpacingMm, SpacingMm, SpacingMm]
    marked: Box | None
    kidney_voxels: int
    tumor_voxels: int
    decoy: bool = False
    """Cut where no kidney is (`preprocessing.decoys`)."""

    def __post_init__(self) -> None:
        if self.marked is not None and not Box.of_shape(self.shape_zyx).contains(self.marked):
            found = f"from {self.marked.start_zyx} to {self.marked.stop_zyx} in {self.shape_zyx} voxels"
            raise ValueError(f"targets marked {found}")


@dataclass(frozen=True)
class Region:
    """A cached region: its files, each read when it is asked for.

    Attributes:
        folder: Of its case.
        number: From 0 on.
        record: What the files must agree with: training cuts patches at places taken from them.
    """

    folder: Path
    number: int
    record: RegionRecord

    @property
    def shape_zyx(self) -> IntTriple:
        """Voxels of it."""
        return self.record.shape_zyx

    def holds(self, label: int) -> bool:
        """Whether a voxel of `KIDNEY` or `TUMOR` lies in it; any other label is everywhere."""
        return {KIDNEY: self.record.kidney_voxels, TUMOR: self.record.tumor_voxels}.get(label, 1) > 0

    def file(self, what: str) -> Path:
        """Where `image.npy`, `targets.lz4` (there is none where nothing is marked) and the points are kept."""
        return self.folder / f"region_{self.number}_{what}"

    @property
    def levels(self) -> Voxels:
        """(z, y, x) uint8, the image as in bisc.preprocessing.resample; memory-mapped.

        Mapped each time it is asked for (0.1 ms): a map that is kept holds a file open, a data set has more regions
        than a process may have open files.

        Raises:
            InputError: If the file is missing, damaged, or not what the record says.
        """
        path = self.file("image.npy")
        voxels = _load(path)
        if voxels.shape != self.shape_zyx or voxels.dtype != np.uint8:
            raise _fault(path, f"{voxels.dtype} voxels of shape {voxels.shape}")
        return voxels

    def image(self, intensity: Intensity) -> npt.NDArray[np.float32]:
        """(z, y, x) network input."""
        return input_of_levels(self.levels, intensity)

    @property
    def targets(self) -> Voxels:
        """(z, y, x) uint8, packed as in bisc.core.labels, of the whole region."""
        return self.targets_in(Box.of_shape(self.shape_zyx))

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
        marked = self.record.marked
        if marked is None:
            return None
        both = window.meeting(marked)
        if both is None:
            return None
        targets = _unpacked(self.file("targets.lz4"), marked.shape_zyx)
        return both.within(window), targets[both.within(marked).to_slices()]

    def points(self, label: int) -> npt.NDArray[np.int16]:
        """Up to `MAX_POINTS` voxels (n; z, y, x) of label `KIDNEY` or `TUMOR`; read once per process.

        Raises:
            InputError: If the file is missing, damaged, or not what the record says.
        """
        return _points(self, label)

    def check(self) -> None:
        """Look at every file, and read no voxel.

        Raises:
            InputError: If one is missing, damaged, or not what the record says.
        """
        _ = self.levels
        if self.record.marked is not None:
            _check_size(self.file("targets.lz4"), self.record.marked.shape_zyx)
        for label in POINTS:
            self.points(label)


def save_region(folder: Path, number: int, levels: Voxels, targets: Voxels, spacing_mm_zyx: Triple) -> RegionRecord:
    """Write the files of a case's region `number`, for a `Region` of the record that is returned.

    Args:
        folder: Of the case.
        number: From 0 on.
        levels: (z, y, x) image.
        targets: (z, y, x), packed.
        spacing_mm_zyx: Of both.
    """
    counts = np.bincount(labels_of(targets).ravel(), minlength=3)
    marked = Box.of_mask(targets)
    record = RegionRecord(
        shape_zyx=as_int_triple(targets.shape),
        spacing_mm_zyx=spacing_mm_zyx,
        marked=marked,
        kidney_voxels=int(counts[KIDNEY]),
        tumor_voxels=int(counts[TUMOR]),
    )
    region = Region(folder, number, record)
    # numpy keeps the order of memory: x last is what patches read.
    np.save(region.file("image.npy"), np.ascontiguousarray(levels))
    if marked is not None:
        packed = lz4.frame.compress(targets[marked.to_slices()].tobytes(), block_checksum=True)
        region.file("targets.lz4").write_bytes(packed)
    for label, file in POINTS.items():
        np.save(region.file(file), _drawn(targets, label, number))
    return record


@lru_cache(maxsize=1 << 14)
def _points(region: Region, label: int) -> npt.NDArray[np.int16]:
    path, record = region.file(POINTS[label]), region.record
    points = np.array(_load(path))
    of_form = (
        points.dtype == np.int16
        and points.ndim == 2
        and points.shape[1] == 3
        and (len(points) > 0 or not region.holds(label))
    )
    low, high = (0, 0) if record.marked is None else (record.marked.start_zyx, record.marked.stop_zyx)
    if not of_form or not ((points >= low) & (points < high)).all():
        raise _fault(path, "not the points of its record")
    return points


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


def _drawn(targets: Voxels, label: int, seed: int) -> npt.NDArray[np.int16]:
    """Up to `MAX_POINTS` voxels of a label, drawn with a fixed seed."""
    flat = np.flatnonzero(labels_of(targets) == label)
    if flat.size > MAX_POINTS:
        flat = np.sort(np.random.default_rng(seed).choice(flat, MAX_POINTS, replace=False))
    return np.stack(np.unravel_index(flat, targets.shape), axis=1).astype(np.int16)
