"""Whether what was made of a data set's files, caches and validations, is of them as they are now."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from bisc.core.errors import BiscError, InputError
from bisc.imageio.dataset import RawCase, scan_raw_dataset
from bisc.planners.dataset import cache_settings
from bisc.planners.plan import Plan
from bisc.planners.source import current_meaning, load_source
from bisc.preprocessing.cache import RECORD, CacheJob, CaseRecord, cache_key, settings_digest
from bisc.preprocessing.regions import MEND
from bisc.system.jsonfile import load_json


def raw_cases(preprocessed: Path, names: Collection[str]) -> list[RawCase]:
    """Those of the named cases whose files are there: none where the raw data set is elsewhere, as in training on
    caches alone.

    Raises:
        InputError: If dataset.json, which says what labels mean, cannot be used.
    """
    try:
        source = load_source(preprocessed)
    except BiscError:
        return []
    meaning = current_meaning(source, preprocessed)
    return [case for case in scan_raw_dataset(source, meaning=meaning).cases if case.name in names]


def check_caches(stage: str, names: Collection[str], plan: Plan, preprocessed: Path) -> None:
    """Refuse to train on caches of a stage that are older than their files, or than what labels mean.

    Caches of another plan, and those of an older version, which do not say, are the trainer's to refuse.

    Raises:
        InputError: If one is, or a record is missing or damaged.
    """
    settings = cache_settings(plan)
    made_by, stale = settings_digest(settings), []
    cases = raw_cases(preprocessed, names)
    for case in cases:
        record = load_json(preprocessed / stage / case.name / RECORD, CaseRecord, MEND)
        if record.settings == made_by and record.key != cache_key(CacheJob(case, settings, preprocessed)):
            stale.append(case)
    if stale:
        path = preprocessed / stage / stale[0].name / RECORD
        n = f"{len(stale)} of {len(cases)} cases"
        found = f"is older than {stale[0].labels} or its image, or than what labels mean, as in {n}"
        raise InputError(path, found, "caches of the data set as it is now", MEND)


def digest_of_cases(preprocessed: Path, names: Collection[str]) -> str:
    """Changes with the size or time of the cases' files and what their labels mean; empty where not all are there."""
    cases = raw_cases(preprocessed, names)
    if len(cases) < len(set(names)):
        return ""
    return hashlib.sha256(repr(sorted((case.name, case.stamp()) for case in cases)).encode()).hexdigest()
