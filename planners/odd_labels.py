"""Label maps of a data set that mean something else than they are taken for, as their volumes tell.

Left and right kidney as 1 and 2, or tumour and kidney swapped, are valid values in valid places; a single patient may
look like either (a tumour of litres, a kidney that is tumour alone), most of a data set's patients do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bisc.imageio.label_names import EXAMPLE, OPTION
from bisc.planners.fingerprint import CaseFingerprint, Fingerprint

LEAST_CASES: Final = 3
"""With a tumour; of fewer nothing is said."""
MOST_CASES: Final = 2 / 3
SAME_VOLUME: Final = 0.02
"""Relative: of a component that is all the tumour there is but for specks."""
SIDES: Final = f"{OPTION} kidney=1+2"


def odd_labels(fingerprint: Fingerprint) -> list[str]:
    """What is to be minded of a data set's labels, a sentence each.

    Of KiTS19's real maps no tumour is apart, and in 18 % it is larger than the rest.
    """
    cases = [case for case in fingerprint.cases if case.tumor_ml and case.kidneys]
    n_apart = sum(map(_is_apart, cases))
    n_larger = sum(is_larger(case.tumor_ml, sum(kidney.volume_ml for kidney in case.kidneys)) for case in cases)
    odd = []
    if are_most(n_apart, len(cases)):
        odd.append(
            f"in {n_apart} of {len(cases)} cases the tumour is a region by itself that touches no kidney, as where 1 "
            f"and 2 are a patient's two kidneys; if they are, say so ({SIDES})"
        )
    elif are_most(n_larger, len(cases)):
        odd.append(
            f"in {n_larger} of {len(cases)} cases tumours are larger than the rest of the kidneys, as where they "
            f"are swapped; if so, say it ({EXAMPLE})"
        )
    return odd


def is_larger(tumor_ml: float, both_ml: float) -> bool:
    """Whether there is more tumour than kidney, given what both are together."""
    return tumor_ml > both_ml - tumor_ml


def are_most(n: int, n_cases: int) -> bool:
    """Whether so many cases say something of all."""
    return n_cases >= LEAST_CASES and n > MOST_CASES * n_cases


def _is_apart(case: CaseFingerprint) -> bool:
    """Whether a component of label > 0 has the tumour's volume, and so nothing else in it."""
    volumes: Sequence[float] = [kidney.volume_ml for kidney in case.kidneys]
    return any(abs(ml - case.tumor_ml) <= SAME_VOLUME * ml for ml in volumes)
