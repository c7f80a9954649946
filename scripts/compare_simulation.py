"""Put simulated slices beside the 24 real KiTS19 slices: the same measurements on both, and a picture.

    python scripts/compare_simulation.py -o /tmp/simulation_vs_real.png --docs docs/images/simulation.png

The picture given by -o holds real pixels (CC BY-NC-SA): it is for looking at, never for committing. The one given by
--docs holds simulated ones only.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import io

from bisc.simulation import Variety, simulate_case
from bisc.simulation.phases import VARIETIES

Image = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
SIZE_XYZ = (512, 512, 64)
SLICES_PER_CASE = 4


@dataclass(frozen=True)
class Slice:
    """One axial slice: HU clipped to 0..255 as the real ones are, and its labels."""

    hu: Image
    labels: npt.NDArray[np.uint8]


def main() -> int:
    """Measure, print the table, write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("BISC_SHARED") or Path(__file__).resolve().parents[1].parent / "shared")
    parser.add_argument("--real", type=Path, default=shared / "kits19_slices", help="(default: %(default)s)")
    parser.add_argument("-o", type=Path, help="side-by-side picture with real pixels (default: a temporary folder)")
    parser.add_argument("--docs", type=Path, help="picture of simulated slices alone")
    parser.add_argument("-n", type=int, default=8, help="simulated patients (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--variety", choices=VARIETIES, default="kits", help="(default: %(default)s)")
    args = parser.parse_args()
    simulated, views = simulate(args.n, args.seed, args.variety)
    if args.docs:
        io.imsave(args.docs, np.concatenate(views[:6], axis=1), check_contrast=False)
        print(f"simulated slices: {args.docs}")
    if not args.real.is_dir():
        print(f"no real slices at {args.real}: nothing to compare with")
        return 0
    real = read_real(args.real)
    target = args.o or Path(tempfile.mkdtemp()) / "simulation_vs_real.png"
    io.imsave(target, side_by_side(real, simulated), check_contrast=False)
    print(f"side by side (do not commit): {target}\n")
    print(table(real, simulated))
    return 0


def read_real(folder: Path) -> list[Slice]:
    """The real slices; blue is kidney, red is tumour."""
    out = []
    for path in sorted((folder / "images").glob("*.png")):
        colours = io.imread(folder / "masks" / path.name)
        labels = np.where(colours[..., 0] > 127, 2, np.where(colours[..., 2] > 127, 1, 0)).astype(np.uint8)
        hu = io.imread(path).astype(float)
        out.append(Slice(hu if hu.ndim == 2 else hu[..., 0], labels))
    return out


def simulate(n: int, seed: int, variety: Variety) -> tuple[list[Slice], list[npt.NDArray[np.uint8]]]:
    """Slices spread over the labelled range of `n` patients, and a view of each patient."""
    slices, views = [], []
    for index in range(n):
        image, labels = simulate_case(seed, index, SIZE_XYZ, variety)
        hu, lab = np.asarray(image.array, float), np.asarray(labels.array)
        found = np.flatnonzero(lab.any(axis=(1, 2)))
        if found.size == 0:  # of the wide variety some show no kidney
            found = np.arange(lab.shape[0])
        for k in np.linspace(found[0], found[-1], SLICES_PER_CASE + 2).astype(int)[1:-1]:
            slices.append(Slice(np.clip(hu[k], 0, 255), lab[k]))
        views.append(view(hu, lab, image.geometry.spacing_mm_zyx))
    return slices, views


def view(hu: Image, labels: npt.NDArray[np.uint8], spacing: tuple[float, float, float]) -> npt.NDArray[np.uint8]:
    """Axial slice as the real ones are windowed, the same with contours, and a coronal one, below each other."""
    areas = (labels == 2).sum(axis=(1, 2)) * 10 + (labels == 1).sum(axis=(1, 2))
    k = int(areas.argmax()) if labels.any() else labels.shape[0] // 2
    row = int(np.median(np.nonzero(labels)[1])) if labels.any() else labels.shape[1] // 2
    rows = np.arange(0, labels.shape[0] * spacing[0], spacing[1]) / spacing[0]
    rows = np.clip(rows.astype(int), 0, labels.shape[0] - 1)[::-1]
    axial = np.stack([np.clip(hu[k], 0, 255).astype(np.uint8)] * 3, axis=-1)
    return np.concatenate(
        [axial[60:], contours(hu[k], labels[k])[60:], contours(hu[rows, row], labels[rows, row])[:370]], axis=0
    )[::2, ::2]


def contours(hu: Image, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A soft-tissue window (-160..240 HU) with the kidneys outlined in blue, the tumours in red."""
    out = np.stack([np.clip((hu + 160) / 400 * 255, 0, 255).astype(np.uint8)] * 3, axis=-1)
    for value, colour in ((1, (0, 140, 255)), (2, (255, 40, 40))):
        mask = labels == value
        out[mask & ~ndimage.binary_erosion(mask, iterations=2)] = colour
    pad = np.zeros((max(0, 370 - out.shape[0]), *out.shape[1:]), np.uint8)
    return np.concatenate([out, pad], axis=0)


def side_by_side(real: list[Slice], simulated: list[Slice]) -> npt.NDArray[np.uint8]:
    """Two columns of real slices, then three of simulated ones."""
    columns = [real[1:12:3], real[16::2][:4], simulated[1:16:4], simulated[2:16:4], simulated[17:32:4]]
    return np.concatenate([np.concatenate([s.hu for s in c], axis=0) for c in columns], axis=1).astype(np.uint8)


def liver(s: Slice) -> Mask | None:
    """The largest homogeneous unlabelled region of 40 to 140 HU, shrunk by 8 pixels: liver wherever it is in view."""
    smooth = ndimage.gaussian_filter(s.hu, 3)
    spread = np.sqrt(np.maximum(ndimage.gaussian_filter(s.hu**2, 3) - smooth**2, 0))
    region = (smooth > 40) & (smooth < 140) & (spread < 45) & (s.labels == 0)
    parts, count = ndimage.label(ndimage.binary_erosion(region, iterations=8))
    if count == 0:
        return None
    sizes = np.bincount(parts.ravel())[1:]
    return np.asarray(parts == 1 + sizes.argmax()) if sizes.max() > 1500 else None


def measure(s: Slice) -> dict[str, float]:
    """What the table shows, for one slice; a tissue that is not there is left out."""
    out: dict[str, float] = {}
    for name, value in (("kidney", 1), ("tumour", 2)):
        inside = ndimage.binary_erosion(s.labels == value, iterations=4)
        if inside.sum() > 150:
            out[f"{name}: mean HU"], out[f"{name}: std HU"] = s.hu[inside].mean(), s.hu[inside].std()
            smooth = ndimage.gaussian_filter(s.hu, 3)
            out[f"{name}: std after 3 px smoothing"] = smooth[ndimage.binary_erosion(inside, iterations=4)].std()
    region = liver(s)
    if region is not None:
        fine = s.hu - ndimage.gaussian_filter(s.hu, 4)
        out["liver: mean HU"], out["liver: std HU"] = s.hu[region].mean(), s.hu[region].std()
        out["liver: noise (std after high-pass) HU"] = fine[region].std()
        for lag in (1, 2, 3):
            both = region[:, lag:] & region[:, :-lag]
            pair = (fine[:, lag:] * fine[:, :-lag])[both].mean() / fine[region].var()
            out[f"liver: noise autocorrelation at {lag} px"] = pair
    return {k: float(v) for k, v in out.items() if np.isfinite(v)}


def table(real: list[Slice], simulated: list[Slice]) -> str:
    """A Markdown table: mean over slices, and in brackets the range of the middle 80 %."""
    both = [[measure(s) for s in group] for group in (real, simulated)]
    lines = ["| measurement | real (24 slices, 5 patients) | simulated |", "| --- | --- | --- |"]
    for name in dict.fromkeys(k for group in both for m in group for k in m):
        cells = []
        for group in both:
            values = [m[name] for m in group if name in m]
            low, high = np.percentile(values, [10, 90]) if values else (np.nan, np.nan)
            form = "{:.2f} ({:.2f} to {:.2f})" if "autocorrelation" in name else "{:.0f} ({:.0f} to {:.0f})"
            cells.append(form.format(np.mean(values), low, high))
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    lines.append(
        f"| slices with a liver region | {sum('liver: std HU' in m for m in both[0])} of {len(real)} | "
        f"{sum('liver: std HU' in m for m in both[1])} of {len(simulated)} |"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
