"""More than any patient has: what the rough stage found is judged before the fine stage is paid for.

A rough stage that knows too little marks much of the body, and its ROIs then cost half an hour of work for a mask that
nobody can use. Pure functions; the bounds are in ml, whatever the plan's spacing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from bisc.core.errors import WorkError

if TYPE_CHECKING:
    from bisc.inference.cascade import RoughResult

MOST_FOREGROUND_ML: Final = 8000.0
"""Of kidney and tumour. The most in 167 KiTS19 label maps is 1962 ml; polycystic kidneys reach 5 to 8 litres in the
worst patients, so that such a mask is still made, and doubted (`predictor.MAX_KIDNEY_ML`)."""

MOST_ROI_ML: Final = 30_000.0
"""Of all ROIs together, as far as they lie within the scan. The 167 maps need 5 litres on average and 11 at most, 16
when they are degraded as a rough stage might (docs/anatomy.md), 23 with the largest pair fused to one; polycystic
kidneys of 4 litres each need 28. 28 litres took three times a sound case's CPU time and 2 GB."""

MEND: Final = (
    "the rough stage does not know images like this one: look at its mask (--save-rough), and train it longer or on "
    "similar scans"
)


class RoughExcess(WorkError):
    """The rough stage marks more than any patient has; no fine pass was run, and there is no result.

    Attributes:
        rough: What the rough stage gave.
    """

    def __init__(self, message: str, rough: RoughResult | None = None) -> None:
        super().__init__(message)
        self.rough = rough


def excess_of_foreground(ml: float) -> str:
    """Why a rough foreground of `ml` is no patient's; empty where it may be one's."""
    if ml <= MOST_FOREGROUND_ML:
        return ""
    return (
        f"the rough stage marks {ml:.0f} ml as kidney and tumour; expected at most {MOST_FOREGROUND_ML:.0f} ml, more "
        f"than any patient has; {MEND}"
    )


def excess_of_rois(rois_ml: Sequence[float]) -> str:
    """Why ROIs of these volumes are no patient's kidneys; empty where they may be."""
    total = sum(rois_ml)
    if total <= MOST_ROI_ML:
        return ""
    regions = "1 region" if len(rois_ml) == 1 else f"{len(rois_ml)} regions"
    return (
        f"the rough stage marks {regions} so wide that {total / 1000.0:.0f} litres around them would be "
        f"searched for kidneys; expected at most {MOST_ROI_ML / 1000.0:.0f} litres, more than any patient needs; {MEND}"
    )
