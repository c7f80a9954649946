"""Which form should the caches have? Reads random training patches from one region stored in several ways.

    python -m benchmarks.store PREPROCESSED/NAME/fine/CASE [--patch 32 96 112] [--reads 200]

Measured per form: milliseconds to one float32 normalised patch with its targets (files in the page cache), and bytes on
disk. blosc2 is measured where it is installed (pip install blosc2); it is no dependency.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bisc.preprocessing.cache import load_regions

try:
    import blosc2
except ImportError:  # measured only where it is there
    blosc2 = None

MEAN_HU, STD_HU = 100.0, 75.0
Slices = tuple[slice, slice, slice]
Read = Callable[[Slices], npt.NDArray[np.float32]]


def main() -> None:
    """Print one row per form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path)
    parser.add_argument("--patch", type=int, nargs=3, default=(32, 64, 64), metavar=("Z", "Y", "X"))
    parser.add_argument("--reads", type=int, default=200)
    args = parser.parse_args()
    region = load_regions(args.case)[0]
    image, targets = np.array(region.image), np.array(region.targets)
    print(f"region {image.shape} (z, y, x), patch {tuple(args.patch)}, {args.reads} reads, median ms")
    with tempfile.TemporaryDirectory() as folder:
        for name, (read, n_bytes) in forms(image, targets, Path(folder)).items():
            print(
                f"{name:36s} {timed(read, image.shape, tuple(args.patch), args.reads):8.2f} ms {n_bytes / 1e6:8.2f} MB"
            )


def forms(image: npt.NDArray[np.float16], targets: npt.NDArray[np.uint8], folder: Path) -> dict[str, tuple[Read, int]]:
    """Each form's reader and size."""
    hu = np.rint(image.astype(np.float32) * STD_HU + MEAN_HU).astype(np.int16)
    np.save(folder / "f16.npy", image)
    np.save(folder / "f32.npy", image.astype(np.float32))
    np.save(folder / "i16.npy", hu)
    np.save(folder / "t.npy", targets)
    np.savez_compressed(folder / "all.npz", image=image, targets=targets)
    f16, f32, i16, t = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("f16", "f32", "i16", "t"))

    def npz(at: Slices) -> npt.NDArray[np.float32]:
        with np.load(folder / "all.npz") as archive:
            np.array(archive["targets"][at])
            return np.asarray(archive["image"][at], dtype=np.float32)

    def size(*names: str) -> int:
        return sum((folder / n).stat().st_size for n in names)

    found: dict[str, tuple[Read, int]] = {
        "npy float16 memory map (ours)": (
            lambda at: _with(t, at, f16[at].astype(np.float32)),
            size("f16.npy", "t.npy"),
        ),
        "npy float32 memory map": (lambda at: _with(t, at, np.array(f32[at])), size("f32.npy", "t.npy")),
        "npy int16 memory map, late normalise": (
            lambda at: _with(t, at, (i16[at].astype(np.float32) - MEAN_HU) / STD_HU),
            size("i16.npy", "t.npy"),
        ),
        "npz compressed, whole": (npz, size("all.npz")),
    }
    if blosc2 is not None:
        packed = blosc2.asarray(image.view(np.uint16), chunks=(16, 64, 64), blocks=(8, 32, 32))
        marks = blosc2.asarray(targets, chunks=(16, 64, 64), blocks=(8, 32, 32))
        found["blosc2 float16 chunks 16 x 64 x 64"] = (
            lambda at: _with(marks, at, packed[at].view(np.float16).astype(np.float32)),
            packed.schunk.cbytes + marks.schunk.cbytes,
        )
    return found


def _with(targets: npt.NDArray[np.uint8], at: Slices, patch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    np.array(targets[at])
    return patch


def timed(read: Read, shape: tuple[int, ...], patch: tuple[int, ...], n: int) -> float:
    """Median milliseconds of `n` reads at seeded random places."""
    rng = np.random.default_rng(0)
    seconds = []
    for _ in range(n):
        start = [int(rng.integers(0, max(1, s - p + 1))) for s, p in zip(shape, patch, strict=True)]
        z, y, x = (slice(a, a + p) for a, p in zip(start, patch, strict=True))
        begin = time.perf_counter()
        read((z, y, x))
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds) * 1000)


if __name__ == "__main__":
    main()
