"""Post-processing chosen on the validation masks of all trained folds: `postprocessing.json`, and its table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from bisc.core.choices import DEFAULT_DECISION, STAGES
from bisc.core.errors import InputError
from bisc.core.labels import TUMOR
from bisc.evaluation.nested import Choice, choose
from bisc.evaluation.overlap import dice
from bisc.evaluation.tables import write_table
from bisc.imageio import check_same_grid, read_labels
from bisc.inference.model import trained_network
from bisc.inference.postprocessing import (
    CANDIDATES_ML,
    FILE,
    Candidate,
    KnownNetwork,
    Postprocessing,
    drop_small_tumors,
)
from bisc.inference.sources import Folder
from bisc.network.checkpoint import mark_of
from bisc.pipeline.validate import FoldCase, fold_cases
from bisc.pipeline.validated import outdated
from bisc.pipeline.workers import workers_that_fit
from bisc.system.cases import process_pool, run_cases
from bisc.system.jsonfile import save_json
from bisc.system.paths import VALIDATION, Folders, fold_folder, name_of

Scores = npt.NDArray[np.float64]
LEAST_CASES: Final = 10
"""Of a single fold."""
SAME: Final = 1e-5
"""Scores in reports have six digits."""


@dataclass(frozen=True)
class _Job:
    case: FoldCase
    mask: Path


@dataclass(frozen=True)
class _Tried:
    """Of one case, under each candidate: tumour Dice, whether the mask changed, and whether a true tumour was lost."""

    dice: list[float]
    changed: list[bool]
    emptied: list[bool]


@dataclass(frozen=True, eq=False)
class ChosenPostprocessing:
    """The rule as it was stored, its table for people, and the files written."""

    rule: Postprocessing
    table: pd.DataFrame
    title: str
    written: tuple[Path, ...]


def choose_postprocessing(
    results: Path,
    report: pd.DataFrame,
    stem: Path | None = None,
    *,
    preprocessed: Path | None = None,
    n_workers: int = 1,
    tell: Callable[[str], object] = lambda _: None,
) -> ChosenPostprocessing | None:
    """Choose below which volume a tumour component is dropped, on the validation masks against their references.

    Chosen by nested cross-validation: without a case's fold, and scored on it; of a single fold without the case
    itself. The same masks give the same bytes.

    Args:
        results: RESULTS/NAME.
        report: The joined reports of its folds (`bisc.evaluation.crossval`).
        stem: Of the table's files; None: RESULTS/NAME/postprocessing.
        preprocessed: PREPROCESSED/NAME, which knows where the references lie; None looks in the usual place.
        n_workers: Cases at a time.
        tell: Takes a line where fewer fit into the memory.

    Returns:
        What was chosen and stored; None, with nothing written, of a single fold with fewer than 10 cases.

    Raises:
        InputError: If a case is in two folds, a fold was validated with other weights, a mask or a reference is not
            there, or they are not those of the report; nothing is written then.
    """
    folds = sorted({int(fold) for fold in report["fold"]})
    if len(folds) < 2 and len(report) < LEAST_CASES:
        return None
    if preprocessed is None:
        preprocessed = Folders.from_environment().preprocessed / name_of(results)
    jobs = _jobs(results, report, folds, preprocessed)
    tried = _try_all(jobs, report, n_workers, tell)
    scores = np.asarray([one.dice for one in tried])
    of_folds = len(folds) > 1
    choice = choose(scores, [int(fold) for fold in report["fold"]] if of_folds else range(len(jobs)))
    rule = _rule(choice, tried, scores, folds, "fold" if of_folds else "case", _networks(results, folds))
    table, title = _table(rule), title_of(rule)
    save_json(results / FILE, rule)
    written = write_table(results / "postprocessing" if stem is None else stem, table, title)
    return ChosenPostprocessing(rule, table, title, (results / FILE, *written))


def title_of(rule: Postprocessing) -> str:
    """What was chosen, and why or why not, in a line."""
    gain = f"nested gain {rule.nested_gain:+.4f}"
    if rule.gain_low is not None and rule.gain_high is not None:
        gain += f" ({rule.gain_low:+.4f} to {rule.gain_high:+.4f}), p {rule.p:.3g}"
    else:
        gain += ", too few cases for an interval"
    gain += f", {rule.n_cases} cases, chosen without the {rule.chosen_without} that it is scored on"
    if not rule.smallest_tumor_ml:
        return f"Post-processing: nothing was earned, so no tumour is dropped ({gain})."
    return f"Post-processing: tumours below {rule.smallest_tumor_ml:g} ml are dropped ({gain})."


def _jobs(results: Path, report: pd.DataFrame, folds: list[int], preprocessed: Path) -> list[_Job]:
    """The validation masks and their references, in the report's order."""
    twice = sorted(set(report.loc[report["case"].duplicated(), "case"]))
    if twice:
        raise InputError(results, f"{twice[0]} is in several folds", "each case in one", "train the folds again")
    for fold in folds:
        other = outdated(results, fold, preprocessed)
        if other:
            mend = f"run bisc_train fine {fold} --continue, which validates it"
            raise InputError(fold_folder(results, "fine", fold), f"was validated with {other}", "those of now", mend)
    cases = fold_cases(preprocessed, list(report["case"]))
    masks = [
        fold_folder(results, "fine", int(fold)) / VALIDATION / f"{case}.nii.gz"
        for case, fold in zip(report["case"], report["fold"], strict=True)
    ]
    return [_Job(case, mask) for case, mask in zip(cases, masks, strict=True)]


def _try_all(jobs: list[_Job], report: pd.DataFrame, n_workers: int, tell: Callable[[str], object]) -> list[_Tried]:
    """Every candidate on every case; one case that cannot be scored ends it: the others would not be the folds."""
    n_workers = min(n_workers, -(-len(jobs) // 4))
    with process_pool(workers_that_fit((job.mask for job in jobs), n_workers, tell)) as pool:
        outcomes = run_cases(_try, jobs, pool, "post-processing", name=lambda job: job.case.raw.name)
    tried = []
    for outcome, reported in zip(outcomes, report["dice_tumor"], strict=True):
        if outcome.result is None:
            assert outcome.error is not None  # there is one or the other
            raise outcome.error
        if not math.isclose(outcome.result.dice[0], float(reported), abs_tol=SAME):
            found = f"a tumour Dice of {outcome.result.dice[0]:.4f}"
            raise InputError(outcome.job.mask, found, f"{reported:.4f}, as its report says", "validate the fold again")
        tried.append(outcome.result)
    return tried


def _try(job: _Job) -> _Tried:
    reference = read_labels(job.case.raw.labels, job.case.raw.meaning)
    mask = read_labels(job.mask)
    check_same_grid(reference, mask)
    truth = reference.volume.array == TUMOR
    ml = mask.volume.geometry.voxel_volume_ml
    made = [drop_small_tumors(mask.volume.array, ml, smallest) for smallest in CANDIDATES_ML]
    found = [one.labels == TUMOR for one in made]
    return _Tried(
        [dice(truth, tumor) for tumor in found],
        [one.n > 0 for one in made],
        [one.n > 0 and not tumor.any() and bool(truth.any()) for one, tumor in zip(made, found, strict=True)],
    )


def _rule(
    choice: Choice,
    tried: list[_Tried],
    scores: Scores,
    folds: list[int],
    without: str,
    networks: list[KnownNetwork],
) -> Postprocessing:
    nested = choice.nested
    candidates = [
        Candidate(
            smallest_tumor_ml=ml,
            dice_tumor=_rounded(scores[:, i].mean()),
            std=_rounded(scores[:, i].std()),
            n_changed=sum(one.changed[i] for one in tried),
            n_emptied=sum(one.emptied[i] for one in tried),
        )
        for i, ml in enumerate(CANDIDATES_ML)
    ]
    return Postprocessing(
        smallest_tumor_ml=CANDIDATES_ML[choice.adopted],
        decision=DEFAULT_DECISION,
        best_ml=CANDIDATES_ML[choice.best],
        n_cases=len(tried),
        folds=folds,
        chosen_without=without,
        dice_tumor_before=candidates[0].dice_tumor,
        nested_gain=_rounded(nested.difference),
        gain_low=None if math.isnan(nested.low) else _rounded(nested.low),
        gain_high=None if math.isnan(nested.high) else _rounded(nested.high),
        p=None if math.isnan(nested.p) else _rounded(nested.p),
        candidates=candidates,
        networks=networks,
    )


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _networks(results: Path, folds: list[int]) -> list[KnownNetwork]:
    """Both stages' networks of these folds: a rule is used with none but them."""
    files = Folder(results)
    plan = files.plan()
    known = []
    for stage in STAGES:
        for fold, name, checkpoint in files.networks(stage, folds):
            network, _ = trained_network(checkpoint, name, plan)
            known.append(KnownNetwork(stage=stage, fold=fold, mark=mark_of(network)))
    return known


def _table(rule: Postprocessing) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "smallest tumour (ml)": f"{one.smallest_tumor_ml:g}",
            "dice_tumor(std)": f"{one.dice_tumor:.4f}({one.std:.4f})",
            "cases changed": one.n_changed,
            "left without tumour": one.n_emptied,
            "n": rule.n_cases,
        }
        for one in rule.candidates
    )
