"""The colours of figures and the names in pages; what else a page looks like stands in templates/style.css."""

from __future__ import annotations

from typing import Final

from bisc.preprocessing.segments import Segment

KIDNEY_COLOUR: Final = "#56B4E9"
TUMOR_COLOUR: Final = "#FFB000"
"""Sky blue and amber (after Okabe and Ito): told apart with any colour blindness, and both on grey CT."""

TUMOR_COLOURS: Final = (TUMOR_COLOUR, "#CC79A7", "#00B586", "#F0E442", "#E8601C")
"""By a tumour's rank, then over again; its number stands beside it wherever it is drawn."""

CANVAS_COLOUR: Final = "#000000"
TEXT_COLOUR: Final = "#F2F2F2"
FAINT_COLOUR: Final = "#A8ADB3"

ORGAN_NAMES: Final = {"kidney": "Kidney", "tumor": "Tumour"}
STAGE_NAMES: Final = {"rough": "Rough", "fine": "Fine", "reference": "Reference"}
METRIC_NAMES: Final = {
    "dice_kidney": "Dice kidney",
    "dice_tumor": "Dice tumour",
    "kidney": "Kidney, ml",
    "tumor": "Tumour, ml",
}
STATUS_NAMES: Final = {
    "ok": "ok",
    "one_kidney": "one kidney",
    "no_kidney": "no kidney found",
    "failed": "failed",
}


def colour_of(segment: Segment) -> str:
    """The one colour of a kidney or tumour, in every picture and table."""
    if segment.organ == "kidney":
        return KIDNEY_COLOUR
    return TUMOR_COLOURS[(segment.rank - 1) % len(TUMOR_COLOURS)]
