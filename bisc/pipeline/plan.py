"""A data set measured, planned and cached: fingerprint, plan, splits, and the volumes both stages train on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from bisc.core.choices import STAGES
from bisc.core.errors import BiscError, InputError
from bisc.imageio.dataset import LAYOUTS, RawCase, scan_raw_dataset
from bisc.imageio.label_map import DATASET_JSON, stated_cases
from bisc.imageio.label_names import meaning_of_option
from bisc.pipeline.fault_table import Fault, Note, faults_csv, unused_line
from bisc.pipeline.parts import Part, stamp_of
from bisc.pipeline.workers import case_workers
from bisc.planners.dataset import (
    cache_settings,
    load_plan,
    load_splits,
    measure_dataset,
    odd_folds,
    plan_dataset,
    share_splits,
)
from bisc.planners.fingerprint import Fingerprint
from bisc.planners.known_issues import known_issues
from bisc.planners.odd_labels import odd_labels
from bisc.planners.plan import Plan
from bisc.planners.planner import DEFAULT_MEMORY_GB
from bisc.planners.source import FILE as SOURCE
from bisc.planners.source import (
    check_same_meaning,
    check_same_source,
    label_note,
    meaning_of_source,
    save_source,
)
from bisc.planners.splits import read_splits
from bisc.planners.values import OPTION, values_of
from bisc.preprocessing.cache import CacheJob, cache_case, cache_key, is_cached
from bisc.system.cases import run_cases
from bisc.system.files import make_output_folder, remove_partial, write_text
from bisc.system.jsonfile import to_json
from bisc.system.paths import CHECKPOINT_LAST, Folders, check_name, find_dataset, name_of, with_plan

RAW_MARKER = "*/*.*"
"""Both layouts hold their files one folder below the data set."""
NAMED_MARKER = "*/*"
"""A folder that was named is one, whatever lies in it: it is told what its files are not used for."""
VERIFY = "verify.csv"
SPLITS = "splits.json"
CACHES = "caches"
"""What the notes of parts are called."""


@dataclass
class Planned:
    """A data set as it stands after planning.

    Attributes:
        folder: PREPROCESSED/NAME, with plan.json, plan.txt, splits.json, the caches, and verify.csv of all faults.
        raw: The raw data set's folder.
        plan: What the data decided.
        fingerprint: What was measured of the usable cases.
        faults: Case name and error of what cannot be used.
        notes: Case name, or nothing, and what is in order and not used, or was made of an input's oddities.
        labels: What the label maps' values mean, and who said so; empty where nothing did: KiTS's numbers.
        part: Which cases' caches were made or looked for; None: all were made.
    """

    folder: Path
    raw: Path
    plan: Plan = field(init=False)
    fingerprint: Fingerprint = field(init=False)
    faults: list[Fault] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    labels: str = ""
    part: Part | None = None


def plan(
    dataset: str | Path | None = None,
    *,
    plan_name: str | None = None,
    overwritten: Sequence[str] | None = None,
    splits: str | Path | None = None,
    labels: str | None = None,
    memory_gb: float = DEFAULT_MEMORY_GB,
    only_plan: bool = False,
    verify: bool = False,
    n_workers: int = 1,
    scheduler: str | None = None,
    part: Part | None = None,
    tell: Callable[[BiscError | str], object] = lambda _: None,
) -> Planned:
    """Measure a data set, plan both stages from what was measured, and cache its volumes, labels and edge maps.

    A rerun redoes what is missing or stale. A faulty case is left out and listed; the sound ones go on.

        planned = bisc.plan("raw/KiTS19")
        planned.plan.target_spacing_mm_zyx    # (3.0, 0.78125, 0.78125), (z, y, x) in mm

    Args:
        dataset: A name under the raw folder, or a path; None: the only one there is.
        plan_name: Of a plan beside the default one, in PREPROCESSED/NAME__PLAN; its measurements and folds are shared.
        overwritten: Values of that plan, as `--set` takes them ("base_features=16"); None: those of the run before.
        splits: Folds to train on, nnU-Net's splits_final.json or a splits.json; None: those of before, else our own.
        labels: What the label maps' values mean ("kidney=1+2,tumor=3"); None: as dataset.json or KiTS says.
        memory_gb: Target for the peak of a training step, in GiB.
        only_plan: No caches; label maps without images will do.
        verify: Read every file again.
        n_workers: Cases worked on at a time, fewer where memory is short; 1 works in this process.
        scheduler: Of the workers, as for `bisc.pipeline.workers.case_workers`; None: this machine.
        part: Cache one part of the cases by the plan that is there; or look that all parts were, and finish.
        tell: Takes each fault as it is found, and a line of what is not used.

    Raises:
        InputError: If there is no such data set, no usable case, or no kidney in any; for a part, if there is no plan
            of the data set as it is now.
        WorkError: If a part that is to be joined is missing, or the scheduler is lost.
    """
    if not 0.0 < memory_gb < math.inf:
        raise InputError("--memory-gb", f"{memory_gb}", "a positive number of GiB")
    if overwritten and plan_name is None:
        raise InputError(OPTION, "given without --plan", "a name for the plan", "the default plan is the data's own")
    values = None if overwritten is None else values_of(overwritten)
    folders = Folders.from_environment()
    given = meaning_of_option(labels) if labels is not None else None
    name, marker = (None, RAW_MARKER) if dataset is None else (str(dataset), NAMED_MARKER)
    mend, beside = f"lay it out as {LAYOUTS}", folders.nnunet_raw
    raw = find_dataset(folders.raw, name, marker, "data set", mend, beside=beside, plans=False)
    check_name(name_of(raw), raw, "give a link of another name with -d")
    home = folders.preprocessed / name_of(raw)
    target = folders.preprocessed / with_plan(name_of(raw), plan_name)
    for folder in (home, target):
        check_same_source(folder, raw)
    check_same_meaning(home, target, given)
    meaning = meaning_of_source(raw, home if (home / SOURCE).exists() else target, given)
    found = scan_raw_dataset(raw, labels_suffice=only_plan, meaning=meaning)
    make_output_folder(target)
    for folder in (target, home / "fingerprint", *(target / stage for stage in STAGES)):
        remove_partial(folder)

    planned = Planned(target, raw, notes=[*found.notes], part=part)
    if found.notes:
        tell(f"not used: {unused_line(found.notes, raw)}; see {target / VERIFY}")
    stated = stated_cases(raw)
    n_cases = len({*(case.name for case in found.cases), *(name for name, _ in found.faults)})
    if stated is not None and stated > n_cases:
        missing = f"{raw / DATASET_JSON}: says numTraining {stated}, and {n_cases} cases are there"
        planned.notes.append(("", missing))
        tell(missing)
    _add(planned, found.faults, tell)
    images = (case.image or case.labels for case in found.cases)
    with case_workers(images, n_workers, tell, scheduler, target, [raw]) as pool:
        measured = measure_dataset(name_of(target), found.cases, home, pool, again=verify)
        fingerprints = {case.name: case for case in measured.fingerprint.cases}
        planned.fingerprint = measured.fingerprint
        planned.notes += measured.notes
        for odd in odd_labels(measured.fingerprint):
            planned.notes.append(("", f"{raw}: {odd}"))
            tell(f"{raw}: {odd}")
        if verify:
            planned.notes += known_issues(found, fingerprints)
        _add(planned, measured.faults, tell)  # now: what follows may fail for want of a kidney
        if not fingerprints:
            raise InputError(raw, f"no usable case ({len(planned.faults)} faults)", LAYOUTS, f"see {target / VERIFY}")
        if part is not None:
            planned.plan = _plan_of(measured.fingerprint, target)
        else:
            before = _text(target / SPLITS)
            share_splits(home, target)
            folds = None if splits is None else read_splits(Path(splits), fingerprints)
            note = label_note(meaning, found.label_files)
            planned.plan = plan_dataset(measured.fingerprint, target, memory_gb, note, values, folds)
            for odd in odd_folds(load_splits(target), measured.fingerprint):
                tell(odd)
            results = folders.results / target.name
            if (
                (not before or _is_whole(before))
                and _text(target / SPLITS) != before
                and next(results.glob(f"*/fold_*/{CHECKPOINT_LAST}"), None) is not None
            ):
                tell(f"the folds are others now; what {results} holds was trained on those of before: train it anew")
            for folder in {target} if (home / SOURCE).exists() else {target, home}:
                save_source(folder, raw, meaning)
        if meaning is not None or found.label_files:
            earlier = "" if given or meaning is None or not meaning.is_given else " (given at an earlier run)"
            planned.labels = f"{planned.plan.label_note}{earlier}"
        if not only_plan:
            cases = [case for case in found.cases if case.name in fingerprints]
            _add(planned, _preprocess(cases, planned, pool, measured.voxels), tell)
    return planned


def _add(planned: Planned, faults: Iterable[Fault], tell: Callable[[BiscError], object]) -> None:
    """Tell new faults, and bring verify.csv up to date."""
    new = list(faults)
    planned.faults += new
    if planned.part is None or planned.part.number is None:  # a part knows its own cases' alone
        write_text(planned.folder / VERIFY, faults_csv(planned.faults, planned.notes))
    for _, fault in new:
        tell(fault)


def _plan_of(fingerprint: Fingerprint, folder: Path) -> Plan:
    """The plan that is there, if it is of this fingerprint."""
    kept = load_plan(folder)
    if _text(folder / "fingerprint.json") != to_json(fingerprint):
        found, mend = "is of the data set as it was before", "plan it again (--only-plan), then run the parts"
        raise InputError(folder / "fingerprint.json", found, "the cases as they are now", mend)
    return kept


def _is_whole(text: str) -> bool:
    """Whether a JSON file's text is one; of a damaged one nobody knows what it said."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _preprocess(
    cases: Sequence[RawCase], planned: Planned, executor: Executor | None, voxels: Mapping[str, str]
) -> list[Fault]:
    """Cache every case for both stages; returns the faults by case name.

    `voxels` has the digests of cases that were read again: what was cached of other voxels is made anew.
    """
    settings = cache_settings(planned.plan)
    jobs = [CacheJob(case, settings, planned.folder, voxels.get(case.name, "")) for case in cases]
    part = planned.part
    if part is not None:
        jobs = part.share(jobs, lambda job: job.case.name)
        stamps = {job.case.name: stamp_of([], cache_key(job)) for job in jobs}
        if part.number is None:
            by_name = {job.case.name: job for job in jobs}
            joined = part.join(planned.folder, CACHES, stamps, lambda case: is_cached(by_name[case.name]))
            return [(case.name, one.error()) for case in joined.cases for one in case.told]
    outcomes = run_cases(cache_case, jobs, executor, "preprocess", lambda job: job.case.name)
    faults = [(o.job.case.name, o.error) for o in outcomes if o.error is not None]
    if part is not None:
        part.keep(planned.folder, CACHES, stamps, faults)
    return faults
