"""What does the ROI stage lose of real anatomy? Every label map as if it were the rough result, clean and degraded.

    python -m benchmarks.anatomy LABELS_DIR -o FOLDER [-np N] [-n N]

LABELS_DIR holds case_*/segmentation.nii.gz. Each map goes through the rough grid (128 x 128 in plane, z at 3 mm), is
degraded there, comes back by the cascade's own interpolation, and is given to each rule. A true kidney is a
26-connected component of 5 ml or more of the clean map. It is lost where no ROI meets it, cut where no single ROI
holds all of it. Writes anatomy.csv (a row per case, degradation and rule) and anatomy.md.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Container, Iterator
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.degrade import DEGRADATIONS, FUSING, RoughMap, kidneys_of
from benchmarks.roi_rules import KITS19_RULE, RULES, Mask, Roi
from bisc.core.geometry import Geometry, Triple
from bisc.core.labels import TUMOR
from bisc.core.volume import Box, Volume
from bisc.evaluation.tables import to_markdown
from bisc.imageio import read_labels
from bisc.inference.cascade import NO_OFFSETS, upsample_labels
from bisc.preprocessing.parts import label_components
from bisc.preprocessing.resample import FULL, resample, resample_labels, rough_grid
from bisc.system.cases import Outcome, process_pool, run_cases

TARGET_MM_ZYX: Triple = (3.0, 0.78125, 0.78125)
ROUGH_PX = 128
CLEAN = "clean"
MAX_POINTS = 4000
"""Voxels of a kidney that are looked for in a ROI, to tell a lost kidney."""


@dataclass(frozen=True)
class Row:
    """What one rule did with one degraded map.

    Attributes:
        case: Its name.
        degradation: 'clean' or a name of `DEGRADATIONS`.
        rule: A name of `RULES`.
        kidneys: True kidneys.
        lost: Of them, met by no ROI.
        cut: Of them, met, but not whole in any ROI.
        wrong_side: Of the two largest, in a ROI of the other side's name, or both in ROIs of the same name.
        rois: Number of ROIs.
        voxels: Of all ROIs together.
    """

    case: str
    degradation: str
    rule: str
    kidneys: int
    lost: int
    cut: int
    wrong_side: int
    rois: int
    voxels: int


@dataclass(frozen=True, eq=False)
class TrueKidney:
    """A component of the clean map: its box's low and high corner with full voxel width, and some of its voxels, all
    in continuous (z, y, x) voxels of the target grid; its side where there are two."""

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    points: npt.NDArray[np.float64]
    side: str


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, metavar="LABELS_DIR")
    parser.add_argument("-o", dest="out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("-np", dest="workers", type=int, default=1, metavar="N", help="processes")
    parser.add_argument("-n", type=int, help="the first N maps only")
    args = parser.parse_args()
    paths = find_maps(args.labels)[: args.n]
    with process_pool(args.workers) as pool:
        frame = measure(paths, pool)
    args.out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(args.out / "anatomy.csv", index=False)
    (args.out / "anatomy.md").write_text(table(frame), encoding="utf-8")
    print(table(frame), end="")


def find_maps(folder: Path) -> list[Path]:
    """Label maps in KiTS19's layout, sorted."""
    return sorted(folder.glob("case_*/segmentation.nii.gz"))


def measure(paths: list[Path], executor: Executor | None) -> pd.DataFrame:
    """A row per case, degradation and rule.

    Raises:
        BiscError: The first map's that could not be measured.
    """
    outcomes: list[Outcome[Path, list[Row]]] = run_cases(
        measure_map, paths, executor, "anatomy", lambda p: p.parent.name
    )
    rows: list[Row] = []
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
        rows += outcome.result or []
    return pd.DataFrame([asdict(row) for row in rows])


def measure_map(path: Path) -> list[Row]:
    """All degradations and rules on one label map."""
    volume = read_labels(path).volume
    case = path.parent.name
    target = volume.geometry.resampled(TARGET_MM_ZYX)
    truth = true_kidneys(volume, target)
    rows = []
    for degradation, foreground in foregrounds(volume, target, case):
        true = fused(truth) if degradation in FUSING else truth
        rows += [judge(case, degradation, name, true, rule(foreground, target)) for name, rule in RULES.items()]
    return rows


def foregrounds(
    volume: Volume, target: Geometry, case: str, names: Container[str] = (CLEAN, *DEGRADATIONS)
) -> Iterator[tuple[str, Mask]]:
    """The rough stage's foreground on the target grid: the clean map's, and that of each degradation in `names`.

    What only a pair of kidneys can have is left out for a single one.
    """
    if CLEAN in names:
        yield CLEAN, resample_labels(volume, target) > 0
    rough = rough_map(volume)
    for name, degrade in DEGRADATIONS.items():
        if name not in names or (name in FUSING and len(kidneys_of(rough)) < 2):
            continue
        rng = np.random.default_rng(zlib.crc32(f"{case} {name}".encode()))
        yield name, upsample_labels(degrade(rough, rng).result(), target, NO_OFFSETS) > 0


def rough_map(volume: Volume) -> RoughMap:
    """Shares of organ and tumour on the rough grid."""
    grid = rough_grid(volume.geometry, TARGET_MM_ZYX[0], ROUGH_PX)
    box = Box.of_mask(volume.array)
    if box is None:
        nothing = np.zeros(grid.shape_zyx, np.float32)
        return RoughMap(nothing, nothing, grid)
    around = box.padded((16, 16, 16)).clipped(volume.geometry.shape_zyx)
    assert around is not None  # the box itself lies inside
    part = volume.cropped(around)
    shares = [
        (resample(part.with_array(mask * np.int16(FULL)), grid, fill=0.0).array / FULL).astype(np.float32)
        for mask in (part.array > 0, part.array == TUMOR)
    ]
    return RoughMap(shares[0], shares[1], grid)


def true_kidneys(volume: Volume, target: Geometry) -> list[TrueKidney]:
    """Components of at least 5 ml, the largest first; the two largest have sides."""
    grid = volume.geometry
    found, numbered, around = label_components(volume.array > 0)
    large = [c for c in found if c.n_voxels * grid.voxel_volume_ml >= KITS19_RULE.min_kidney_ml]
    xs = [float(grid.index_to_physical(c.centroid_zyx)[0]) for c in large[:2]]
    kidneys = []
    for i, component in enumerate(large):
        assert around is not None  # there are components
        voxels = np.argwhere(numbered == component.label) + around.start_zyx
        voxels = voxels[:: max(1, len(voxels) // MAX_POINTS)]
        corners = np.stack([component.box.start_zyx, component.box.stop_zyx]) - 0.5
        low, high = target.physical_to_index(grid.index_to_physical(corners))
        side = ("left" if xs[i] > xs[1 - i] else "right") if len(xs) == 2 and i < 2 else ""
        kidneys.append(TrueKidney(low, high, target.physical_to_index(grid.index_to_physical(voxels)), side))
    return kidneys


def fused(kidneys: list[TrueKidney]) -> list[TrueKidney]:
    """The two largest as one."""
    a, b = kidneys[:2]
    points = np.concatenate([a.points, b.points])
    return [TrueKidney(np.minimum(a.low, b.low), np.maximum(a.high, b.high), points, ""), *kidneys[2:]]


def judge(case: str, degradation: str, rule: str, truth: list[TrueKidney], rois: list[Roi]) -> Row:
    """Count what a rule's ROIs lose."""
    whole = [[roi for roi in rois if _holds(roi.box, kidney)] for kidney in truth]
    lost = [not any(_meets(roi.box, kidney) for roi in rois) for kidney in truth]
    wrong = [k.side != "" and not any(r.side == k.side for r in held) for k, held in zip(truth, whole, strict=True)]
    return Row(
        case,
        degradation,
        rule,
        len(truth),
        sum(lost),
        sum(not held and not gone for held, gone in zip(whole, lost, strict=True)),
        sum(bad and bool(held) for bad, held in zip(wrong, whole, strict=True)),
        len(rois),
        sum(int(np.prod(roi.box.shape_zyx)) for roi in rois),
    )


def _holds(box: Box, kidney: TrueKidney) -> bool:
    low, high = np.subtract(box.start_zyx, 0.5), np.subtract(box.stop_zyx, 0.5)
    return bool((kidney.low >= low - 1e-6).all() and (kidney.high <= high + 1e-6).all())


def _meets(box: Box, kidney: TrueKidney) -> bool:
    low, high = np.subtract(box.start_zyx, 0.5), np.subtract(box.stop_zyx, 0.5)
    return bool(((kidney.points >= low) & (kidney.points <= high)).all(axis=1).any())


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Sums per degradation and rule, in their order of appearance; `cost` is the mean ratio of a case's ROI voxels to
    those of 'ours' on its clean map."""
    clean = frame[(frame["degradation"] == CLEAN) & (frame["rule"] == "ours")].set_index("case")["voxels"]
    frame = frame.assign(cost=frame["voxels"] / frame["case"].map(clean), failed=frame["lost"] + frame["cut"])
    groups = frame.groupby(["degradation", "rule"], sort=False)
    sums = groups[["kidneys", "lost", "cut", "failed", "wrong_side"]].sum()
    return sums.join(groups[["rois", "cost"]].mean()).reset_index()


def table(frame: pd.DataFrame) -> str:
    """Markdown: a row per degradation, the rules side by side."""
    rows = []
    for degradation, of in summary(frame).groupby("degradation", sort=False):
        by_rule = of.set_index("rule")
        row = {"rough mask": str(degradation), "kidneys": f"{by_rule['kidneys']['ours']:.0f}"}
        row |= {f"{r}: lost + cut": f"{by_rule['lost'][r]:.0f} + {by_rule['cut'][r]:.0f}" for r in RULES}
        row["ours: wrong side"] = f"{by_rule['wrong_side']['ours']:.0f}"
        row["ours: ROIs"] = f"{by_rule['rois']['ours']:.2f}"
        row |= {f"{r}: cost": f"{by_rule['cost'][r]:.2f}" for r in RULES}
        rows.append(row)
    return to_markdown(pd.DataFrame(rows))


if __name__ == "__main__":
    main()
