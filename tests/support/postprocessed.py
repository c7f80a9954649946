"""Rules as cross-validation would have chosen them, and validation folders to choose one from."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.by_intensity import write_results
from bisc.core.choices import STAGES
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from bisc.evaluation.aggregate import to_frame, write_with_summary
from bisc.evaluation.cases import CaseScores, score_arrays
from bisc.imageio import write_image
from bisc.inference.model import Model
from bisc.inference.postprocessing import Candidate, KnownNetwork, Postprocessing
from bisc.planners.source import save_source

NAME = "ByIntensity"
GRID = NativeGrid.of(Geometry((12, 12, 12), (4.0, 5.0, 5.0)))
"""0.1 ml a voxel."""


def a_rule(smallest_ml: float) -> Postprocessing:
    """A rule that knows no network."""
    tried = Candidate(smallest_tumor_ml=0.0, dice_tumor=0.8, std=0.1, n_changed=0, n_emptied=0)
    return Postprocessing(
        smallest_tumor_ml=smallest_ml,
        decision="calibrated",
        best_ml=smallest_ml,
        n_cases=20,
        folds=[0, 1],
        chosen_without="fold",
        dice_tumor_before=0.8,
        nested_gain=0.02,
        gain_low=0.01,
        gain_high=0.03,
        p=0.001,
        candidates=[tried],
        networks=[],
    )


def knowing(model: Model, rule: Postprocessing) -> Model:
    """The model with a rule."""
    return replace(model, postprocessing=rule)


def networks_of(model: Model) -> list[KnownNetwork]:
    """What a rule chosen of these networks knows."""
    return [KnownNetwork(stage=s, fold=one.fold, mark=one.mark) for s in STAGES for one in getattr(model, s)]


def validated(home: Path, cases: dict[str, int], false_voxels: int = 4) -> Path:
    """A BISC_HOME with raw data, networks and validation masks of these cases, by case its fold; the results.

    Each has a kidney with a tumour of 20 voxels and one of 6, 0.6 ml. Its mask is right but for `false_voxels` more
    of tumour in the kidney; of the last case it is right.
    """
    results, raw = home / "results" / NAME, home / "raw" / NAME
    write_results(results, base_features=4)
    for fold in sorted(set(cases.values()) - {0}):
        for stage in STAGES:
            shutil.copytree(results / stage / "fold_0", results / stage / f"fold_{fold}")
    save_source(home / "preprocessed" / NAME, raw)
    truth = np.zeros((12, 12, 12), np.uint8)
    truth[1:11, 1:11, 1:11] = 1
    truth[2:4, 2:4, 2:7] = truth[6:7, 2:4, 2:5] = 2
    rows: dict[int, list[CaseScores]] = {}
    for name, fold in cases.items():
        mask = truth.copy()
        if name != max(cases):
            mask[9, 9, 2 : 2 + false_voxels] = 2
        for stem, array in (("imaging", truth.astype(np.int16)), ("segmentation", truth)):
            write_image(raw / name / f"{stem}.nii.gz", array, GRID)
        write_image(results / "fine" / f"fold_{fold}" / "validation" / f"{name}.nii.gz", mask, GRID)
        rows.setdefault(fold, []).append(score_arrays(name, truth, mask, GRID.geometry.spacing_mm_zyx))
    for fold, scores in rows.items():
        folder = results / "fine" / f"fold_{fold}"
        (folder / "run.json").write_text(json.dumps({"fold": fold, "loss": "ce"}))
        write_with_summary(folder / "validation" / "report.csv", to_frame(scores))
    return results
