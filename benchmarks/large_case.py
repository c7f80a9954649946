"""How time and peak memory of one prediction grow with the number of slices, up to KiTS19's longest scan (1059)."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.by_intensity import AIR_HU, FAT_HU, KIDNEY_HU, TUMOR_HU, write_results
from benchmarks.measure import run
from benchmarks.scans import NOISE_HU, kits_grid
from bisc.imageio import write_image

EXTENT_Z_MM = 530.0


def main() -> None:
    """Write slices.csv, a row per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", dest="out", type=Path, default=Path("slices.csv"))
    parser.add_argument("--slices", type=int, nargs="+", default=[29, 108, 350, 611, 1059])
    parser.add_argument("--in-plane", type=int, default=512)
    parser.add_argument("--dtype", default="int16", help="stored type of the voxels")
    parser.add_argument("--fused", action="store_true", help="one horseshoe kidney of 230 mm instead of two")
    parser.add_argument("--norm", choices=["batch", "instance"], default="batch")
    parser.add_argument("predict", nargs="*", help="more options of bisc_predict, after --")
    args = parser.parse_args()
    rows = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_results(folder / "model", norm=args.norm)
        for n in args.slices:
            scan = folder / "in" / f"scan_{n}.nii.gz"
            voxels = write_scan(scan, n, args.in_plane, args.dtype, args.fused)
            command = ["-m", "bisc.cli.predict", "-i", str(scan), "-d", str(folder / "model")]
            seconds, gb, status = peak_of([*command, "-o", str(folder / "out"), *args.predict])
            rows.append({"slices": n, "in_plane": args.in_plane, "voxels": voxels, "seconds": seconds, "peak_gb": gb})
            print(rows[-1], status)
            scan.unlink()
    with args.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_scan(
    path: Path,
    n_slices: int,
    in_plane: int,
    dtype: str = "int16",
    fused: bool = False,
    extent_z_mm: float = EXTENT_Z_MM,
) -> int:
    """A body of fat with two kidneys and a tumour in air, stored as KiTS19 does; returns its number of voxels.

    Noise lies over all of it: without it gzip would read in no time, and half a surface lie at the same distance from a
    threshold.
    """
    native = kits_grid((n_slices, in_plane, in_plane), (extent_z_mm / n_slices, 400.0 / in_plane, 400.0 / in_plane))
    z, y, x = (
        ((np.arange(n) - (n - 1) / 2.0) * s).astype(np.float32)
        for n, s in zip(native.canonical.shape_zyx, native.canonical.spacing_mm_zyx, strict=True)
    )
    flat = (y[:, None] / 120.0) ** 2 + (x / 170.0) ** 2
    rng = np.random.default_rng(0)
    hu = np.empty(native.canonical.shape_zyx, np.int16)
    for k in range(n_slices):
        hu[k] = np.where(flat < 1.0, FAT_HU, AIR_HU)
        for side in (-60.0, 60.0):
            hu[k][((z[k] / 55) ** 2 + (y[:, None] / 30) ** 2 + ((x - side) / 30) ** 2) < 1.0] = KIDNEY_HU
        if fused:
            hu[k][((z[k] / 90) ** 2 + (y[:, None] / 40) ** 2 + (x / 115) ** 2) < 1.0] = KIDNEY_HU
        hu[k][((z[k] / 20) ** 2 + (y[:, None] / 20) ** 2 + ((x - 75) / 20) ** 2) < 1.0] = TUMOR_HU
        hu[k] += rng.integers(-NOISE_HU, NOISE_HU, flat.shape, dtype=np.int16)
    write_image(path, hu.astype(dtype, copy=False), native)
    return hu.size


def peak_of(arguments: list[str]) -> tuple[float, float, str]:
    """Wall seconds, peak resident GiB and last line of a Python process of its own."""
    cost, said = run([sys.executable, *arguments])
    return round(cost.wall_s, 2), round(cost.peak_gb, 3), said


if __name__ == "__main__":
    main()
