"""The codes that kidneys, tumours and their measurements are named by: SNOMED CT, DICOM, UCUM and IBSI."""

from __future__ import annotations

from typing import Final

from pydicom.sr.coding import Code

from bisc.preprocessing.segments import Segment

KIDNEY: Final = Code("64033007", "SCT", "Kidney")
NEOPLASM: Final = Code("108369006", "SCT", "Neoplasm")
CATEGORY: Final = {
    "kidney": Code("123037004", "SCT", "Anatomical Structure"),
    "tumor": Code("49755003", "SCT", "Morphologically Abnormal Structure"),
}
SIDES: Final = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}
AI: Final = Code("123109", "DCM", "Artificial Intelligence")
VOLUME: Final = Code("118565006", "SCT", "Volume")
AXIAL_DIAMETER: Final = Code("103339001", "SCT", "Long Axis")
DIAMETER: Final = Code("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh")
AT_LEAST: Final = {
    VOLUME: Code("volume_at_least", "99BISC", "Volume, at least: cut off by the field of view"),
    AXIAL_DIAMETER: Code("long_axis_at_least", "99BISC", "Long axis, at least: cut off by the field of view"),
    DIAMETER: Code("diameter_at_least", "99BISC", "Diameter, at least: cut off by the field of view"),
}
"""Of a structure that the image shows in part; no standard code says so."""
ML: Final = Code("ml", "UCUM", "milliliter")
MM: Final = Code("mm", "UCUM", "millimeter")
EVALUATIONS: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")
COMMENT: Final = Code("121106", "DCM", "Comment")
CT: Final = Code("25045-6", "LN", "CT unspecified body region")
COLOURS_RGB: Final = {"kidney": (86, 180, 233), "tumor": (255, 176, 0)}


def type_of(segment: Segment) -> Code:
    """What a segment is."""
    return KIDNEY if segment.organ == "kidney" else NEOPLASM
