"""Which form should the caches have? Reads random training patches from one region stored in several ways.

    python -m benchmarks.store PREPROCESSED/NAME/fine/CASE [--patch 64 128 128] [--reads 100]

Measured per form: milliseconds to one float32 normalised patch with its targets (files in the page cache), and bytes on
disk. blosc2 is measured where it is installed (pip install blosc2); it is no dependency.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import numpy as np
import numpy.typing as npt

from bisc.core.box import Box
from bisc.planners.dataset import load_plan
from bisc.preprocessing.cache import load_regions
from bisc.preprocessing.regions import Region
from bisc.preprocessing.resample import Intensity, input_of_levels

try:
    import blosc2
except ImportError:  # measured only where it is there
    blosc2 = None

CHUNKS, BLOCKS = (16, 64, 64), (8, 32, 32)
Slices = tuple[slice, slice, slice]
Read = Callable[[Slices], object]


def main() -> None:
    """Print one row per form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path)
    parser.add_argument("--patch", type=int, nargs=3, default=(64, 128, 128), metavar=("Z", "Y", "X"))
    parser.add_argument("--reads", type=int, default=100)
    args = parser.parse_args()
    region, intensity = load_regions(args.case)[0], load_plan(args.case.parents[1]).intensity
    shape = region.levels.shape
    print(f"region {shape} (z, y, x), patch {tuple(args.patch)}, {args.reads} reads, median ms")
    with tempfile.TemporaryDirectory() as folder:
        for name, (read, n_bytes) in forms(region, intensity, Path(folder)).items():
            ms = timed(read, shape, tuple(args.patch), args.reads)
            print(f"{name:44s} {ms:8.2f} ms {n_bytes / 1e6:8.2f} MB")


def forms(region: Region, intensity: Intensity, folder: Path) -> dict[str, tuple[Read, int]]:
    """Each form's reader and size."""
    image, targets = region.image(intensity), region.targets
    hu = np.rint(image * intensity.std_hu + intensity.mean_hu).astype(np.int16)
    half = image.astype(np.float16)
    arrays = {"float16": half, "float32": image, "int16": hu, "levels": region.levels, "targets": targets}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.savez_compressed(folder / "all.npz", image=region.levels, targets=targets)
    maps = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
    mean, std = np.float32(intensity.mean_hu), np.float32(intensity.std_hu)

    def of_levels(part: npt.NDArray[np.uint8]) -> object:
        return input_of_levels(part, intensity)

    def npz(at: Slices) -> object:
        with np.load(folder / "all.npz") as archive:
            return archive["targets"][at], of_levels(archive["image"][at])

    def plain(name: str, read: Callable[[npt.NDArray[np.generic]], object]) -> tuple[Read, int]:
        n_bytes = sum((folder / f"{part}.npy").stat().st_size for part in (name, "targets"))
        return lambda at: (maps["targets"][at].copy(), read(maps[name][at])), n_bytes

    found: dict[str, tuple[Read, int]] = {
        "npy 256 levels, LZ4 box of targets (ours)": (
            lambda at: (region.targets_in(box_of(at)), of_levels(region.levels[at])),
            (folder / "levels.npy").stat().st_size + packed_bytes(region),
        ),
        "LZ4 256 levels, LZ4 targets": lz4_frames(region.levels, targets, of_levels),
        "npy 256 levels": plain("levels", of_levels),
        "npy float16": plain("float16", lambda part: part.astype(np.float32)),
        "npy float32": plain("float32", np.array),
        "npy int16, late normalisation": plain("int16", lambda part: (part.astype(np.float32) - mean) / std),
        "npz (zlib), 256 levels": (npz, (folder / "all.npz").stat().st_size),
    }
    if blosc2 is not None:
        blosc2.set_nthreads(1)
        packed, marks = blosc2.asarray(hu, chunks=CHUNKS, blocks=BLOCKS), blosc2.asarray(targets, chunks=CHUNKS)
        found[f"blosc2 int16, chunks of {CHUNKS}"] = (
            lambda at: (marks[at], (packed[at].astype(np.float32) - mean) / std),
            packed.schunk.cbytes + marks.schunk.cbytes,
        )
    return found


def packed_bytes(region: Region) -> int:
    """Of a region's targets on disk."""
    file = region.targets_file
    return file.stat().st_size if file.exists() else 0


def box_of(at: Slices) -> Box:
    """What the slices cut out."""
    z, y, x = at
    return Box((z.start, y.start, x.start), (z.stop, y.stop, x.stop))


def lz4_frames(
    levels: npt.NDArray[np.uint8], targets: npt.NDArray[np.uint8], of_levels: Callable[[npt.NDArray[np.uint8]], object]
) -> tuple[Read, int]:
    """Both packed, as they would lie in the page cache."""
    frames = [lz4.frame.compress(array.tobytes(), block_checksum=True) for array in (levels, targets)]

    def read(at: Slices) -> object:
        image, marks = (np.frombuffer(lz4.frame.decompress(f), np.uint8).reshape(levels.shape)[at] for f in frames)
        return marks.copy(), of_levels(image)

    return read, sum(map(len, frames))


def timed(read: Read, shape: tuple[int, ...], patch: tuple[int, ...], n: int) -> float:
    """Median milliseconds of `n` reads at seeded random places."""
    rng = np.random.default_rng(0)
    seconds = []
    for _ in range(n):
        start = [int(rng.integers(0, max(1, s - p + 1))) for s, p in zip(shape, patch, strict=True)]
        z, y, x = (slice(a, min(a + p, s)) for a, p, s in zip(start, patch, shape, strict=True))
        begin = time.perf_counter()
        read((z, y, x))
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds) * 1000)


if __name__ == "__main__":
    main()
