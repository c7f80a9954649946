"""The measures of one structure while they are gathered: each is given once, rounded as its definition says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bisc.measurement.definitions import OF
from bisc.measurement.measures import Measure, Structure
from bisc.preprocessing.segments import Segment


class Sheet:
    """Measures of one structure.

    Args:
        segment: What is measured.
    """

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.measures: dict[str, Measure] = {}
        self._of = OF[segment.organ]

    def put(self, name: str, value: float | str, **more: Any) -> None:
        """A value; `more` as of `Measure`."""
        decimals = self._of[name].decimals
        given = {key: _rounded(v, decimals) if isinstance(v, float) else v for key, v in more.items()}
        self.measures[name] = Measure(_rounded(value, decimals), **given)

    def hold(self, names: Iterable[str], why: str, low: float | None = None, high: float | None = None) -> None:
        """Withhold measures that have no value yet."""
        for name in names:
            if name not in self.measures:
                decimals = self._of[name].decimals
                ends = {key: _rounded(v, decimals) for key, v in (("low", low), ("high", high)) if v is not None}
                self.measures[name] = Measure(None, **ends, why=why)

    def done(self) -> Structure:
        """All of them, in their definitions' order.

        Raises:
            KeyError: If one is missing: a defect of ours.
        """
        return Structure(self.segment, {name: self.measures[name] for name in self._of})


def _rounded(value: Any, decimals: int) -> Any:
    if isinstance(value, str):
        return value
    return round(float(value), decimals) if decimals else round(value)
