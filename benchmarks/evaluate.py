"""Scoring one pair of label maps: every column of ours against MONAI's Dice, HD95 and surface Dice of both regions.

    python -m benchmarks.evaluate [--reference MAP --prediction MAP] [-o bench_out] [--repeats 5]

In memory: arrays in, numbers out. Default pair: a simulated 512 x 512 x 108 patient and its labels shifted by two
pixels and a slice. MONAI is ours' own environment's (extra `dev`).
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from benchmarks import scans, table
from benchmarks.measure import seconds_of
from bisc.core.geometry import Triple
from bisc.evaluation.cases import score_arrays
from bisc.evaluation.surface import KIDNEY_TOLERANCE_MM, TUMOR_TOLERANCE_MM
from bisc.imageio import read_labels
from bisc.simulation.case import simulate_case

SHIFT_ZYX = (1, 2, 2)
Labels = npt.NDArray[np.uint8]


def main() -> None:
    """Write evaluate.csv, evaluate.md and evaluate.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", dest="out", type=Path, default=Path("bench_out"))
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--prediction", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    if args.reference is None:
        volume = simulate_case(scans.SEED, 0, scans.KITS_SIZE)[1]
        reference, spacing = np.asarray(volume.array, np.uint8), scans.KITS_SPACING_ZYX
    else:
        volume = read_labels(args.reference).volume
        reference, spacing = np.asarray(volume.array, np.uint8), volume.geometry.spacing_mm_zyx
    prediction = np.roll(reference, SHIFT_ZYX, (0, 1, 2))
    if args.prediction is not None:
        prediction = np.asarray(read_labels(args.prediction).volume.array, np.uint8)
    rows = []
    for _ in range(args.repeats):
        ours = seconds_of(lambda: score_arrays("case", reference, prediction, spacing))
        rows.append({"who": table.OURS, "wall_s": ours})
        rows.append({"who": "MONAI", "wall_s": seconds_of(lambda: monai_scores(reference, prediction, spacing))})
    measures = {"wall_s": "s a pair"}
    print(table.write(args.out, "evaluate", pd.DataFrame(rows), measures, "Scoring one pair, 512 x 512 x 108"))


def monai_scores(reference: Labels, prediction: Labels, spacing: Triple) -> list[float]:
    """Dice, HD95 and surface Dice of kidney (label > 0) and tumour, as MONAI's users compute them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric

        def channels(labels: Labels) -> torch.Tensor:
            return torch.from_numpy(np.stack([labels > 0, labels == 2])[None])

        metrics = (
            DiceMetric(include_background=True),
            HausdorffDistanceMetric(include_background=True, percentile=95),
            SurfaceDiceMetric([KIDNEY_TOLERANCE_MM, TUMOR_TOLERANCE_MM], include_background=True),
        )
        p, y = channels(prediction), channels(reference)
        found: list[float] = []
        for metric in metrics:
            kwargs = {} if isinstance(metric, DiceMetric) else {"spacing": spacing}
            found += torch.as_tensor(metric(p, y, **kwargs)).flatten().tolist()
    return found


if __name__ == "__main__":
    main()
