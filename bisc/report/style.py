"""The colours of figures and the names in pages; what else a page looks like stands in templates/style.css."""

from __future__ import annotations

from typing import Final

KIDNEY_COLOUR: Final = "#56B4E9"
TUMOR_COLOUR: Final = "#FFB000"
"""Sky blue and amber (after Okabe and Ito): told apart with any colour blindness, and both on grey CT."""

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
