"""The fine stage on real tumours: single slices with an expert's labels, each made into a volume, scored on the slice.

    python -m benchmarks.real_slices MODEL.zip [OTHER.zip ...] -o bench_out/real_slices
    python -m benchmarks.real_slices MODEL.zip --simulated 24     # what making a volume of a slice costs

Of real CT with tumours single slices are at hand, no volumes. A slice repeated along z is a pillar, as no kidney is,
and networks find little in it. Here it shrinks about the kidney's middle with the distance from the slice as the
sections of an ellipsoid do (`inflated`), so that a kidney becomes a body with two poles, and so does a tumour. ROIs are
placed by the labels, as the fine stage is trained: what the rough stage would miss is not told. Air and fat read 0 HU
in these slices and are set to fat. Dice is of the slices' own pixels at target spacing, all slices of a
patient together, then the mean over patients with 95 % by bootstrap; of further models the paired difference from the
first too. Pictures hold real pixels (CC BY-NC-SA): they are for looking at, never for committing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import ndimage

from benchmarks.race_table import interval
from benchmarks.realism.slices import Case, Slice, read_real, simulate
from bisc.core.choices import DECISIONS, Decision
from bisc.core.geometry import IntTriple, Triple
from bisc.core.labels import HALF_LENGTH_MM
from bisc.inference.cascade import decide, offsets_of
from bisc.inference.model import Model, load_model
from bisc.inference.windows import softmax_volume
from bisc.network.device import choose_device
from bisc.planners.plan import Plan
from bisc.preprocessing.kidneys import next_multiple
from bisc.preprocessing.resample import normalise

LEAST_SCALE: Final = 0.15
"""Beyond the poles a slice is seen shrunk as far as this."""
FAT_HU: Final = -100.0
READS_FAT: Final = 2.0
"""Grey up to this is air or fat; JPEG's noise is in it."""
LEAST_MM2: Final = 300.0
"""Of a labelled region; smaller ones are the rims of poles."""
SLICES: Final = 48
DICE: Final = ("dice_kidney", "dice_tumor")
Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Place:
    """One labelled region of a slice, and the grid about it.

    Attributes:
        slice: Whose it is.
        region: (y, x) bool, the region on the slice's pixels.
        centre_px: (y, x) of its box, pixels of the slice.
        shape_zyx: Of the ROI; the slice lies at index z // 2.
        spacing_mm_zyx: Of the ROI.
    """

    slice: Slice
    region: npt.NDArray[np.bool_]
    centre_px: tuple[float, float]
    shape_zyx: IntTriple
    spacing_mm_zyx: Triple

    def pixels(self, scale: float = 1.0) -> npt.NDArray[np.float64]:
        """(2, y, x): where the ROI's voxels lie in the slice, which is seen `scale` times as large."""
        steps = np.divide(self.spacing_mm_zyx[1:], np.asarray(self.slice.spacing_mm_yx))
        axes = [
            middle + (np.arange(n) - (n - 1) / 2) * step / scale
            for middle, n, step in zip(self.centre_px, self.shape_zyx[1:], steps, strict=True)
        ]
        return np.stack(np.meshgrid(*axes, indexing="ij"))

    def cut(self, pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """(y, x) values of the slice, each voxel's nearest."""
        return np.asarray(ndimage.map_coordinates(pixels, self.pixels(), np.float32, order=0, mode="constant"))


def main() -> None:
    """Score every model on every slice, draw what each found, print the table."""
    shared = Path(os.environ.get("BISC_SHARED") or Path(__file__).resolve().parents[1].parent / "shared")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--real", type=Path, default=shared / "kits19_more_slices", help="(default: %(default)s)")
    parser.add_argument("--simulated", type=int, default=0, metavar="N", help="of N simulated patients instead")
    parser.add_argument("--seed", type=int, default=77001, help="the simulator's (default: %(default)s)")
    parser.add_argument("--decision", choices=DECISIONS, default="argmax", help="(default: %(default)s)")
    parser.add_argument("-o", dest="out", type=Path, default=Path("bench_out/real_slices"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tables: dict[str, pd.DataFrame] = {}
    device = choose_device("cpu")
    for path in args.models:
        model = load_model(path, None, device)
        if args.simulated:
            tables |= of_simulated(path.stem, model, args.simulated, args.seed, args.decision)
        else:
            regions = [place for s in read_real(args.real) for place in places(s, model.plan)]
            found = [(place, labels_of(inflated(place), model, args.decision)) for place in regions]
            tables[path.stem] = pd.DataFrame([scored(*one) for one in found])
            draw(found, args.out / f"{path.stem}.png")
    pd.concat(tables, names=["model"]).to_csv(args.out / "real_slices.csv")
    print(table_of(tables))


def of_simulated(name: str, model: Model, n: int, seed: int, decision: Decision) -> dict[str, pd.DataFrame]:
    """Slices of simulated patients made into volumes, and the same in the volumes that they were cut from."""
    made, whole = [], []
    for slices, case in simulate(n, seed, lossy_share=0.0):
        for place in (place for s in slices for place in places(s, model.plan)):
            made.append(scored(place, labels_of(inflated(place), model, decision)))
            whole.append(scored(place, labels_of(within(place, case), model, decision)))
    return {f"{name}, of slices": pd.DataFrame(made), f"{name}, in their volumes": pd.DataFrame(whole)}


def places(s: Slice, plan: Plan) -> Iterator[Place]:
    """Every labelled region, and the ROI that the plan's rule gives it in plane."""
    assert s.spacing_mm_yx is not None, "these slices have no spacing"
    regions, n = ndimage.label(s.labels > 0)
    for number in range(1, n + 1):
        region = regions == number
        if region.sum() * s.spacing_mm_yx[0] * s.spacing_mm_yx[1] < LEAST_MM2:
            continue
        first, last = (np.asarray(edge) for edge in zip(*((i.min(), i.max()) for i in np.nonzero(region)), strict=True))
        extent = (last - first + 1) * s.spacing_mm_yx + 2 * plan.roi.margin_mm
        side = next_multiple(float(max(extent / plan.target_spacing_mm_zyx[1:])), plan.roi.multiple_px)
        side = max(side, plan.roi.sides_px[0])
        middle = (first + last) / 2
        yield Place(s, region, (middle[0], middle[1]), (SLICES, side, side), plan.target_spacing_mm_zyx)


def inflated(place: Place) -> Pixels:
    """(z, y, x) HU: the slice at z // 2, shrunk elsewhere as an ellipsoid's sections are, by sqrt(1 - (d / half)^2)."""
    hu = ndimage.gaussian_filter(np.where(place.slice.hu <= READS_FAT, FAT_HU, place.slice.hu), _blur_px(place))
    out = np.empty(place.shape_zyx, np.float32)
    for z in range(len(out)):
        away = (z - len(out) // 2) * place.spacing_mm_zyx[0] / HALF_LENGTH_MM
        scale = max(sqrt(max(1 - away**2, 0.0)), LEAST_SCALE)
        out[z] = ndimage.map_coordinates(hu, place.pixels(scale), order=1, cval=FAT_HU)
    return out


def within(place: Place, case: Case) -> Pixels:
    """(z, y, x) HU: the ROI in the volume that the slice was cut from, clipped as the slice is."""
    clipped = np.clip(case.hu, 0, 255)
    hu = np.where(clipped <= READS_FAT, FAT_HU, clipped)
    hu = ndimage.gaussian_filter(hu, (0.0, *[_blur_px(place)] * 2))
    assert place.slice.index is not None
    steps = np.arange(place.shape_zyx[0]) - place.shape_zyx[0] // 2
    heights = place.slice.index + steps * place.spacing_mm_zyx[0] / case.spacing_mm_zyx[0]
    rows, columns = place.pixels()
    return np.stack(
        [ndimage.map_coordinates(hu, [np.full_like(rows, z), rows, columns], order=1, cval=FAT_HU) for z in heights]
    ).astype(np.float32)


def labels_of(hu: Pixels, model: Model, decision: Decision) -> npt.NDArray[np.uint8]:
    """(y, x) labels of the ROI's middle slice."""
    softmax = softmax_volume(model.fine, normalise(hu, model.plan.intensity), model.plan.intensity.air)
    return np.asarray(decide(softmax, offsets_of(model.fine, decision))[len(hu) // 2])


def scored(place: Place, found: npt.NDArray[np.uint8]) -> dict[str, object]:
    """Areas in mm2 of what was found, of the labels and of both; another region's pixels count for nothing here."""
    labels, own = place.cut(place.slice.labels), place.cut(place.region.astype(np.uint8)) > 0
    counts = own | (labels == 0)
    mm2 = float(np.prod(place.spacing_mm_zyx[1:]))
    row: dict[str, object] = {"patient": place.slice.patient}
    for name, least in zip(DICE, (1, 2), strict=True):
        mask, truth = (found >= least) & counts, (labels >= least) & own
        row |= {f"{name}_both": mm2 * (mask & truth).sum(), f"{name}_found": mm2 * mask.sum()}
        row |= {f"{name}_truth": mm2 * truth.sum()}
    return row


def by_patient(rows: pd.DataFrame) -> pd.DataFrame:
    """Dice of each patient's slices together; the tumour's is NaN without one."""
    sums = rows.groupby("patient").sum()
    dice = {name: 2 * sums[f"{name}_both"] / (sums[f"{name}_found"] + sums[f"{name}_truth"]) for name in DICE}
    out = pd.DataFrame(dice)
    out.loc[sums.dice_tumor_truth == 0, "dice_tumor"] = np.nan
    return out


def table_of(tables: dict[str, pd.DataFrame]) -> str:
    """Markdown: mean Dice over patients with 95 %, and the paired difference from the first."""
    lines = ["| model | patients | kidney | tumour | tumour area, found / true | tumour, less the first's |"]
    lines.append("| --- " * 6 + "|")
    first = None
    for name, rows in tables.items():
        dice = by_patient(rows)
        cells = [name, str(len(dice)), *(_mean(dice[key]) for key in DICE)]
        cells.append(f"{rows.dice_tumor_found.sum() / rows.dice_tumor_truth.sum():.2f}")
        cells.append("" if first is None else _mean(dice.dice_tumor - first.dice_tumor, "+.3f"))
        first = dice if first is None else first
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(found: list[tuple[Place, npt.NDArray[np.uint8]]], path: Path) -> None:
    """Each patient's region with the most tumour: labels in green and yellow, what was found in cyan and red."""
    shown: dict[str, tuple[Place, npt.NDArray[np.uint8]]] = {}
    for place, labels in sorted(found, key=lambda one: int((one[0].slice.labels[one[0].region] == 2).sum())):
        shown[place.slice.patient] = place, labels
    columns = 8
    figure = Figure(figsize=(2.4 * columns, 2.6 * -(-len(shown) // columns)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(-(-len(shown) // columns), columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    for ax, (patient, (place, labels)) in zip(axes, sorted(shown.items()), strict=False):
        ax.imshow(place.cut(place.slice.hu), cmap="gray", vmin=0, vmax=255)
        truth = place.cut(place.slice.labels)
        for values, colours in ((truth, ("lime", "yellow")), (labels, ("cyan", "red"))):
            for least, colour in zip((1, 2), colours, strict=True):
                if (values >= least).any():
                    ax.contour(values >= least, [0.5], colors=colour, linewidths=0.8)
        ax.set_title(patient, fontsize=8)
    figure.savefig(path, dpi=80)


def _blur_px(place: Place) -> float:
    """Keeps a coarser grid from picking single pixels of a noisy slice."""
    assert place.slice.spacing_mm_yx is not None
    return max(0.35 * (place.spacing_mm_zyx[1] / place.slice.spacing_mm_yx[0] - 1), 0.0)


def _mean(values: pd.Series, form: str = ".3f") -> str:
    known = values.dropna().to_numpy()
    low, high = interval(known)
    return f"{known.mean():{form}} ({low:{form}} to {high:{form}})"


if __name__ == "__main__":
    main()
