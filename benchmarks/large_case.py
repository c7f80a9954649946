"""How time and peak memory of one prediction grow with the number of slices, up to KiTS19's longest scan (1059)."""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.by_intensity import AIR_HU, FAT_HU, KIDNEY_HU, TUMOR_HU, write_results
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from bisc.imageio import write_image

IPL = (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0)
"""KiTS19's storage: the slice axis comes first in the file."""
EXTENT_Z_MM = 530.0
POLL_S = 0.01


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


def write_scan(path: Path, n_slices: int, in_plane: int, dtype: str = "int16", fused: bool = False) -> int:
    """A body of fat with two kidneys and a tumour in air, stored as KiTS19 does; returns its number of voxels."""
    native = NativeGrid.of(
        Geometry((in_plane, in_plane, n_slices), (400.0 / in_plane, 400.0 / in_plane, EXTENT_Z_MM / n_slices),
                 (0.0, 0.0, 0.0), IPL)
    )  # fmt: skip
    z, y, x = (
        ((np.arange(n) - (n - 1) / 2.0) * s).astype(np.float32)
        for n, s in zip(native.canonical.shape_zyx, native.canonical.spacing_mm_zyx, strict=True)
    )
    flat = (y[:, None] / 120.0) ** 2 + (x / 170.0) ** 2
    noise = np.random.default_rng(0).integers(-20, 20, flat.shape, dtype=np.int16)
    hu = np.empty(native.canonical.shape_zyx, np.int16)
    for k in range(n_slices):
        hu[k] = np.where(flat < 1.0, FAT_HU + noise, AIR_HU)
        for side in (-60.0, 60.0):
            hu[k][((z[k] / 55) ** 2 + (y[:, None] / 30) ** 2 + ((x - side) / 30) ** 2) < 1.0] = KIDNEY_HU
        if fused:
            hu[k][((z[k] / 90) ** 2 + (y[:, None] / 40) ** 2 + (x / 115) ** 2) < 1.0] = KIDNEY_HU
        hu[k][((z[k] / 20) ** 2 + (y[:, None] / 20) ** 2 + ((x - 75) / 20) ** 2) < 1.0] = TUMOR_HU
    write_image(path, hu.astype(dtype, copy=False), native)
    return hu.size


def peak_of(arguments: list[str]) -> tuple[float, float, str]:
    """Wall seconds, peak resident GiB and last line of a Python process of its own."""
    begin, peak = time.perf_counter(), 0.0
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    status = Path(f"/proc/{child.pid}/status")
    while child.poll() is None:
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            peak = max(peak, int(lines["VmHWM"].split()[0]) / 2**20)
        except (OSError, KeyError, ValueError):
            pass  # it has just ended
        time.sleep(POLL_S)
    with child:  # closes the pipe
        out = (child.stdout.read() if child.stdout else "").strip().splitlines()
    if child.returncode:
        raise SystemExit(f"{arguments}: exit status {child.returncode}")
    return round(time.perf_counter() - begin, 2), round(peak, 3), out[-1] if out else ""


if __name__ == "__main__":
    main()
