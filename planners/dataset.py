"""Measure a data set case by case, and bring fingerprint, plan and splits to disk; what is still right is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec

from bisc.core.errors import BiscError, InputError
from bisc.imageio.dataset import RawCase
from bisc.planners.duplicates import same_labels, split_duplicates
from bisc.planners.examine import Examined, examine_case, header_faults
from bisc.planners.fingerprint import SCHEMA_VERSION, CaseFingerprint, Fingerprint
from bisc.planners.plan import Plan, completed
from bisc.planners.planner import LABEL_NOTE, explain, make_plan
from bisc.planners.source import MEND
from bisc.planners.splits import GIVEN_SEED, Splits, check_folds, make_splits
from bisc.planners.values import OVERWRITTEN, PlanValues, load_values
from bisc.preprocessing.cache import CacheSettings
from bisc.system.cases import run_cases
from bisc.system.console import collecting, notice
from bisc.system.files import write_text
from bisc.system.jsonfile import Document, load_json, save_json, to_json
from bisc.system.paths import check_name

BEFORE: Final = "splits_before.json"
"""Folds of other cases than there are now: somebody may have written them by hand."""


@dataclass(frozen=True)
class MeasureJob:
    """Measure one case unless `record` already holds its measurement."""

    case: RawCase
    record: Path
    again: bool


class MeasuredCase(Document, frozen=True):
    """A case's measurement with the stamp of the files it was taken from, and what was noted of them; and the digest of
    their voxels, once they were read again (`--verify`)."""

    stamp: str
    fingerprint: CaseFingerprint
    notes: tuple[str, ...] = ()
    image: str = ""
    voxels: str = ""
    labels: str = ""


@dataclass(frozen=True)
class Measured:
    """The fingerprint of the usable cases, and what was wrong with the others.

    Attributes:
        fingerprint: Of the usable cases.
        faults: Case name and fault.
        notes: Case name and what a user should know, though it stops nothing.
        voxels: By case, a digest of the voxels, where the files were read again, now or by an earlier run.
    """

    fingerprint: Fingerprint
    faults: tuple[tuple[str, BiscError], ...]
    notes: tuple[tuple[str, str], ...] = ()
    voxels: Mapping[str, str] = field(default_factory=dict, compare=False)


def measure_dataset(
    name: str, cases: Sequence[RawCase], folder: Path, executor: Executor | None, again: bool = False
) -> Measured:
    """Measure every case, several at a time; finished measurements under `folder/fingerprint` are kept.

    Args:
        name: The data set's name.
        cases: Its cases.
        folder: The data set's folder of preprocessed files.
        executor: Any executor, or None for this process.
        again: Read every case again (`--verify`).

    Returns:
        What was measured; its fingerprint may be without any case.
    """
    jobs = [MeasureJob(case, folder / "fingerprint" / f"{case.name}.json", again) for case in cases]
    outcomes = run_cases(measure_job, jobs, executor, "fingerprint", lambda job: job.case.name)
    faults: list[tuple[str, BiscError]] = [(o.job.case.name, o.error) for o in outcomes if o.error is not None]
    examined = [(o.job.case.name, o.result) for o in outcomes if o.result is not None]
    faults += [(name, fault) for name, one in examined for fault in one.faults]
    found, duplicates = split_duplicates([one for _, one in examined if one.fingerprint is not None], cases)
    fingerprint = Fingerprint(schema_version=SCHEMA_VERSION, dataset=name, cases=found)
    notes = [(name, note) for name, one in examined for note in one.notes]
    return Measured(
        fingerprint,
        tuple(sorted([*faults, *duplicates], key=lambda fault: fault[0])),
        (*notes, *same_labels([(name, one) for name, one in examined if one.fingerprint in found], cases)),
        {name: one.voxels for name, one in examined if one.voxels},
    )


def measure_job(job: MeasureJob) -> Examined:
    """The measurement of one case, from its record where that is still right; the headers are looked at every time."""
    if not job.again and not header_faults(job.case):
        try:
            known = load_json(job.record, MeasuredCase, "")
            fresh = known.stamp == job.case.stamp() and bool(known.image or job.case.image is None)
            if fresh and known.fingerprint.name == job.case.name:
                return Examined(known.fingerprint, (), known.voxels, known.notes, known.image, known.labels)
        except BiscError:
            pass  # missing or from another version: measure
    with collecting() as notes:
        examined = examine_case(job.case, with_digest=job.again)
    examined = replace(examined, notes=(*examined.notes, *notes))
    if examined.fingerprint is not None:
        known = MeasuredCase(
            stamp=job.case.stamp(),
            fingerprint=examined.fingerprint,
            notes=examined.notes,
            image=examined.image,
            labels=examined.labels,
            voxels=examined.voxels,
        )
        save_json(job.record, known)
    return examined


def plan_dataset(
    fingerprint: Fingerprint,
    folder: Path,
    memory_gb: float,
    label_note: str = LABEL_NOTE,
    values: PlanValues | None = None,
    splits: Splits | None = None,
) -> Plan:
    """Write fingerprint.json, plan.json, plan.txt and splits.json under `folder`, and return the plan.

    A plan made from the same fingerprint for the same memory stays, so that a person's own changes to it do; sizes that
    an older version had not are added. Splits stay while the cases are the same.

    Args:
        fingerprint: Of the data set.
        folder: Its folder of preprocessed files.
        memory_gb: Target for the peak of a training step, in GiB.
        label_note: What the labels mean, in words.
        values: Overwritten ones; None: those of the run before.
        splits: Given ones; None: those of the run before, made where there are none.

    Raises:
        InputError: If the cases are others than those that an earlier run was given splits for.
    """
    new_splits = _new_splits(folder, fingerprint, splits)
    before = load_values(folder)
    values = before if values is None else values
    memory_gb = values.memory_gb or memory_gb
    unchanged = _text(folder / "fingerprint.json") == to_json(fingerprint) and values == before
    kept = folder / "plan.json"
    plan = load_json(kept, Plan, "correct it, or delete it to plan anew") if unchanged and kept.exists() else None
    anew = make_plan(fingerprint, memory_gb, label_note, values)
    plan = anew if plan is None or plan.memory_gb != memory_gb else completed(plan, anew)
    plan = msgspec.structs.replace(plan, label_note=label_note)
    if values != before:  # before its plan, and no plan of others is left: cut off in between, it is planned anew
        kept.unlink(missing_ok=True)
        save_json(folder / OVERWRITTEN, values)
    save_json(kept, plan)
    # After its plan: a run cut off in between must not take an older plan for this fingerprint's.
    save_json(folder / "fingerprint.json", fingerprint)
    write_text(folder / "plan.txt", explain(plan))
    if new_splits is not None:
        save_json(folder / "splits.json", new_splits)
    return plan


def load_plan(folder: Path) -> Plan:
    """`plan.json` of a data set.

    Raises:
        InputError: If it is missing or has a missing, unknown or wrongly typed key.
    """
    return load_json(folder / "plan.json", Plan, MEND)


def cache_settings(plan: Plan) -> CacheSettings:
    """What of a plan the caches depend on."""
    return CacheSettings(
        target_spacing_mm_zyx=plan.target_spacing_mm_zyx,
        rough_in_plane_px=plan.rough_in_plane_px,
        intensity=plan.intensity,
        roi=plan.roi,
    )


def load_splits(folder: Path) -> Splits:
    """`splits.json` of a data set; raises as `load_plan`, for a name that is no plain file name, and for folds that no
    scores can rest on."""
    splits = _splits_of(folder)
    check_folds(folder / "splits.json", splits.folds)
    return splits


def _splits_of(folder: Path) -> Splits:
    path = folder / "splits.json"
    splits = load_json(path, Splits, MEND)
    for name in {name for fold in splits.folds for name in (*fold.train, *fold.val)}:
        check_name(name, path, MEND)
    return splits


def odd_folds(splits: Splits, fingerprint: Fingerprint) -> list[str]:
    """What is to be minded of the folds, a sentence each."""
    with_kidney = {case.name for case in fingerprint.cases if case.kidneys}
    odd = []
    for number, fold in enumerate(splits.folds):
        if set(fold.train) & set(fold.val):
            odd.append(
                "there is one case alone: it is validated on what it was trained on, which says nothing of others"
            )
        elif not with_kidney & {*fold.val}:
            odd.append(
                f"fold {number} validates no case with a kidney, so its fine stage cannot be trained: give other folds"
            )
    return odd


def share_splits(home: Path, folder: Path) -> None:
    """Give a named plan the default plan's folds, where there are any: what is trained on both can be compared. Folds
    that it was given itself stay."""
    if folder == home or not (home / "splits.json").exists():
        return
    folds = load_splits(home)
    if not (folder / "splits.json").exists() or load_splits(folder).seed != GIVEN_SEED:
        save_json(folder / "splits.json", folds)


def _new_splits(folder: Path, fingerprint: Fingerprint, given: Splits | None) -> Splits | None:
    """The splits to be written; None where those that are there stay."""
    if given is not None:
        return given
    try:
        known = _splits_of(folder)
    except BiscError:
        known = None  # not there, or damaged
    if known is not None:
        check_folds(folder / "splits.json", known.folds)
        if {name for fold in known.folds for name in (*fold.train, *fold.val)} == {c.name for c in fingerprint.cases}:
            return None
        if known.seed == GIVEN_SEED:
            found = "was given for other cases than there are now"
            raise InputError(folder / "splits.json", found, "folds of these cases", "give --splits again, or remove it")
        (folder / "splits.json").replace(folder / BEFORE)
        notice(
            folder / "splits.json",
            "names other cases than there are now",
            f"made anew, and what it was is {BEFORE}; folds of one's own are given with --splits",
        )
    return make_splits({c.name: c.tumor_ml for c in fingerprint.cases})


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
