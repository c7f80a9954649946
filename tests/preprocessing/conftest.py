"""What the tests of the caches share."""

from __future__ import annotations

from pathlib import Path

import pytest

from bisc.preprocessing.cache import CacheJob
from tests.support.cached import job_of


@pytest.fixture
def job(tiny_dataset: Path, tmp_path: Path) -> CacheJob:
    """The first tiny case, copied so that a test may change it."""
    return job_of(tiny_dataset, tmp_path)
