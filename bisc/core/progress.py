"""A progress bar with an ETA on a terminal, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def track(items: Iterable[T], what: str, total: int | None = None, unit: str = "case", start: int = 0) -> tqdm[T]:
    """Iterate with a bar on stderr; quiet where stderr is not a terminal."""
    return tqdm(
        items,
        desc=what,
        total=total,
        initial=start,
        unit=unit,
        disable=sys.stderr is None or not sys.stderr.isatty(),
        dynamic_ncols=True,
        leave=True,
    )
