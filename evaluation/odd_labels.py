"""Labels of a report's references or predictions that mean something else than they are taken for."""

from __future__ import annotations

from typing import Final

import pandas as pd

from bisc.imageio.label_names import EXAMPLE, OF_PREDICTIONS, OPTION
from bisc.planners.odd_labels import LEAST_CASES, are_most, is_larger

GOOD_KIDNEY: Final = 0.8
"""Dice from which on two maps agree on the kidneys."""
BAD_TUMOR: Final = 0.5
"""Dice below which they do not on the tumours."""
LARGE_TUMOR: Final = 0.25
"""The tumours' part of either's volume from which on no tumour was missed: two kidneys as 1 and 2 make it a half."""


def odd_pairs(report: pd.DataFrame) -> list[str]:
    """What is to be minded of the labels scored, a sentence each; of the rows that were scored (status ok).

    Args:
        report: As `bisc.evaluation.aggregate.to_frame` gives it.
    """
    rows = report[report["status"] == "ok"]
    odd, shares = [], {}
    for what, side, mend in (("references", "ref", OPTION), ("predictions", "pred", OF_PREDICTIONS)):
        both, tumor = rows[f"volume_kidney_{side}_ml"], rows[f"volume_tumor_{side}_ml"]
        shares[side] = (tumor / both).fillna(0.0)
        n_larger = sum(map(is_larger, tumor, both))
        n_cases = int((tumor > 0).sum())
        if are_most(n_larger, n_cases):
            odd.append(
                f"in {n_larger} of {n_cases} {what} tumours are larger than the rest of the kidneys, as where "
                f"they are swapped, or a patient's two kidneys; if so, say it "
                f"({mend} {EXAMPLE.removeprefix(OPTION).strip()})"
            )
    if odd:
        return odd
    n_with = int(((rows["volume_tumor_ref_ml"] > 0) & (rows["volume_kidney_pred_ml"] > 0)).sum())
    if n_with >= LEAST_CASES and not rows["volume_tumor_pred_ml"].any():
        return [
            f"no prediction holds a tumour (label 2), though {n_with} of their references do; if 1 is something else "
            f"than the kidney there, say so ({OF_PREDICTIONS})"
        ]
    large = pd.concat(shares.values(), axis=1).max(axis=1) >= LARGE_TUMOR
    apart = (rows["dice_kidney"] >= GOOD_KIDNEY) & (rows["dice_tumor"] < BAD_TUMOR) & large
    if are_most(int(apart.sum()), len(rows)):
        odd.append(
            f"in {int(apart.sum())} of {len(rows)} cases references and predictions agree on the kidneys and not on "
            f"large tumours, as where 1 and 2 are a patient's two kidneys in one of them; if so, say it ({OPTION}, "
            f"{OF_PREDICTIONS})"
        )
    return odd
