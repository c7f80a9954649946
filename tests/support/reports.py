"""Reports of simulated runs, for what compares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bisc.evaluation.aggregate import to_frame, write_report
from bisc.evaluation.cases import CaseScores

SOUND = CaseScores(
    case="case_0",
    status="ok",
    dice_kidney=0.95,
    dice_tumor=0.8,
    dice_composite=0.875,
    dice_kidney_only=0.94,
    hd95_kidney_mm=3.0,
    hd95_tumor_mm=6.0,
    surface_dice_kidney=0.9,
    surface_dice_tumor=0.7,
    volume_kidney_ref_ml=300.0,
    volume_kidney_pred_ml=310.0,
    volume_tumor_ref_ml=20.0,
    volume_tumor_pred_ml=18.0,
    tumors_ref=1,
    tumors_found=1,
    tumors_false=0,
)


def simulated_run(n: int, seed: int, gain: float = 0.0) -> list[CaseScores]:
    """A run over n patients, the same ones for every seed, whose tumour Dice is better by `gain`."""
    patients, chance = np.random.default_rng(7), np.random.default_rng(seed)
    rows = []
    for i in range(n):
        tumor_ml, kidney_ml = float(np.exp(patients.uniform(1.0, 6.0))), float(patients.uniform(200.0, 500.0))
        hard = float(patients.beta(8.0, 2.0))
        tumor = float(np.clip(hard + gain + chance.normal(0.0, 0.04), 0.0, 1.0))
        kidney = float(np.clip(chance.normal(0.95, 0.01), 0.0, 1.0))
        rows.append(
            replace(
                SOUND,
                case=f"case_{i:05d}",
                dice_kidney=kidney,
                dice_tumor=tumor,
                dice_composite=(kidney + tumor) / 2,
                hd95_tumor_mm=float(40.0 * (1.0 - tumor) + chance.uniform(1.0, 5.0)),
                surface_dice_tumor=tumor * 0.9,
                volume_kidney_ref_ml=kidney_ml,
                volume_kidney_pred_ml=kidney_ml + chance.normal(0.0, 10.0),
                volume_tumor_ref_ml=tumor_ml,
                volume_tumor_pred_ml=tumor_ml * float(np.exp(chance.normal(0.0, 0.15))),
                tumors_false=int(chance.random() < 0.3),
            )
        )
    return rows


def saved(path: Path, rows: Sequence[CaseScores]) -> Path:
    """Write a report.csv; its path."""
    write_report(path, to_frame(rows))
    return path
