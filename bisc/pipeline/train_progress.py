"""How far the runs of `bisc_train all` are, and when all will be done: a bar over work that other processes do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tqdm import tqdm

from bisc.pipeline.train_runs import Run, part_done
from bisc.system.console import is_seen
from bisc.system.schedule import Schedule

EVERY_S: Final = 5.0
FORM: Final = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} runs [{elapsed}{postfix}]"


@dataclass
class Pace:
    """When the runs will be done, by what those of the same stage took so far.

    Attributes:
        results: RESULTS/NAME.
        spans: By stage, seconds that a whole run takes, one entry a run that ended.
    """

    results: Path
    spans: dict[str, list[float]] = field(default_factory=dict)
    _begun: dict[Run, tuple[float, float]] = field(default_factory=dict)  # when, and which part was done then

    def begin(self, run: Run) -> None:
        """A run begins, or begins again."""
        self._begun[run] = time.monotonic(), part_done(run.folder(self.results))

    def end(self, run: Run) -> None:
        """A run is done."""
        began, before = self._begun.pop(run)
        if before < 1.0:
            self.spans.setdefault(run.stage, []).append((time.monotonic() - began) / (1.0 - before))

    def seconds_left(self, schedule: Schedule[Run]) -> float | None:
        """None as long as no stage's pace is known; one that is not is taken for the other's."""
        parts = {run: part_done(run.folder(self.results)) for run, state in schedule.state.items() if state != "done"}
        spans = {stage: [*known] for stage, known in self.spans.items()}
        now = time.monotonic()
        for run, (began, before) in self._begun.items():
            if parts.get(run, 0.0) > before:
                spans.setdefault(run.stage, []).append((now - began) / (parts[run] - before))
        if not spans:
            return None
        means = {stage: sum(known) / len(known) for stage, known in spans.items()}
        left = {}
        for run, part in parts.items():
            whole = means.get(run.stage, max(means.values()))
            began, before = self._begun.get(run, (now, part))
            left[run] = max(0.0, whole * (1.0 - before) - (now - began))
        return schedule.seconds_left(left)


@contextmanager
def shown(schedule: Schedule[Run], pace: Pace) -> Iterator[Callable[[], None]]:
    """A bar of all runs on stderr, where that is a terminal; what is yielded brings it up to date, every few seconds
    however often it is called."""
    seen, updated = is_seen(), -math.inf
    with tqdm(desc="train", total=len(schedule.needs), disable=not seen, dynamic_ncols=True, bar_format=FORM) as bar:

        def update() -> None:
            nonlocal updated
            if not seen or time.monotonic() - updated < EVERY_S:
                return
            updated = time.monotonic()
            parts = (1.0 if s == "done" else part_done(r.folder(pace.results)) for r, s in schedule.state.items())
            bar.n = sum(parts)
            left_s = pace.seconds_left(schedule)
            bar.set_postfix_str("" if left_s is None else f"{tqdm.format_interval(left_s)} left")

        yield update


@contextmanager
def beside_bars() -> Iterator[None]:
    """A block that may print lines while a bar stands there."""
    with tqdm.external_write_mode():
        yield
