"""Every measure by name: what it means, in which unit, of what. docs/reference/measurements.md has it as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bisc.measurement.measures import Definition
from bisc.preprocessing.segments import Organ

MARGIN_MM: Final = 5.0
"""Of parenchyma that is taken out with a tumour, for what is left of the kidney."""


def _kidney(name: str, label: str, unit: str, decimals: int, meaning: str) -> Definition:
    return Definition(name, label, unit, decimals, "kidney", "kidney", meaning)


def _size(name: str, label: str, unit: str, decimals: int, meaning: str) -> Definition:
    return Definition(name, label, unit, decimals, "size", "tumor", meaning)


def _place(name: str, label: str, unit: str, decimals: int, meaning: str) -> Definition:
    return Definition(name, label, unit, decimals, "place", "tumor", meaning)


def _score(name: str, label: str, meaning: str, decimals: int = 0) -> Definition:
    return Definition(name, label, "", decimals, "score", "tumor", meaning)


_KIDNEY: Final = (
    _kidney("volume_ml", "Volume without tumours", "ml", 1, "The kidney's own voxels."),
    _kidney("organ_ml", "Volume with tumours", "ml", 1, "The kidney's and its tumours' voxels."),
    _kidney("length_mm", "Length", "mm", 1, "The longest line through the kidney, without what bulges from it."),
    _kidney("tumors", "Tumours", "", 0, "How many tumours lie in it."),
    _kidney("tumor_ml", "Volume of its tumours", "ml", 1, "All of them together."),
    _kidney("split_percent", "Share of the parenchyma", "%", 0, "Its volume without tumours, of both kidneys'."),
    _kidney(
        "remaining_ml",
        "Parenchyma left after removal",
        "ml",
        1,
        f"What lies farther than {MARGIN_MM:.0f} mm from its tumours.",
    ),
    _kidney("remaining_percent", "The same, of the kidney's own", "%", 0, "Of its volume without tumours."),
    _kidney(
        "lower_line_percent", "Lower polar line", "%", 0, "Where it lies between lower pole (0) and upper pole (100)."
    ),
    _kidney("upper_line_percent", "Upper polar line", "%", 0, "Likewise."),
)
_SIZE: Final = (
    _size("volume_ml", "Volume", "ml", 2, "Its voxels."),
    _size("axial_mm", "Largest axial diameter", "mm", 1, "The longest line within one axial slice."),
    _size("diameter_mm", "Largest diameter", "mm", 1, "The longest line through it in any direction."),
    _size("equivalent_mm", "Diameter of a ball of its volume", "mm", 1, "(6 V / pi) to the power of 1/3."),
)
_PLACE: Final = (
    _place("along_percent", "Place between the poles", "%", 0, "Of its centre; 0 the lower pole, 100 the upper one."),
    _place("exophytic_percent", "Beyond the kidney's outline", "%", 0, "Share of its volume."),
    _place("intraparenchymal_percent", "Within the kidney's outline", "%", 0, "Share of its volume."),
    _place("depth_mm", "Depth below the outline", "mm", 1, "Of its deepest voxel."),
    _place(
        "contact_cm2",
        "Contact surface with parenchyma",
        "cm2",
        1,
        "The area along which it touches the kidney's own voxels (Leslie et al. 2014 estimate it as 2 pi r d).",
    ),
    _place("contact_percent", "Share of its surface in contact", "%", 0, "Contact surface by whole surface."),
    _place("to_sinus_mm", "Distance to the renal sinus", "mm", 1, "To the medial dent of the kidney; 0 is touching."),
    _place("to_tumor_mm", "Distance to the next tumour", "mm", 1, "To the nearest other one of the same kidney."),
)
_SCORE: Final = (
    _score("renal", "R.E.N.A.L. sum", "R + E + N + L, 4 to 12 (Kutikov and Uzzo 2009)."),
    _score("renal_r", "R", "Axial diameter: 1 up to 40 mm, 2 below 70 mm, 3 from 70 mm on."),
    _score("renal_e", "E", "Beyond the outline: 1 half or more, 2 less, 3 at most 1 % of its volume."),
    _score("renal_n", "N", "Distance to sinus or collecting system: 1 from 7 mm on, 2 above 4 mm, 3 up to 4 mm."),
    _score("renal_a", "A", "a before, p behind the plane through axis and hilum by two thirds of its volume; else x."),
    _score("renal_l", "L", "1 beyond a polar line; 2 crosses one; 3 more than half, all, or its middle between them."),
    _score("renal_h", "Hilar suffix", "Whether it may touch the hilum's vessels: within 2 mm of the sinus."),
    _score("c_index", "C-index", "Centre to centre by half its axial diameter (Simmons et al. 2010).", 2),
    _score("dap", "DAP sum", "D + A + P, 3 to 9 (Simmons et al. 2012)."),
    _score("dap_d", "D", "Axial diameter: 1 below 24 mm, 2 up to 44 mm, 3 above."),
    _score("dap_a", "A (axial)", "From the kidney's axis to its edge: 1 above 15 mm, 2 up to it, 3 holds it."),
    _score("dap_p", "P", "From the middle between the poles to its edge: 1 above 20 mm, 2 up to it, 3 crosses it."),
    _score("padua", "PADUA sum", "Six parts, 6 to 14 (Ficarra et al. 2009); an interval alone."),
    _score("padua_polar", "Polar", "1 more than half beyond a polar line, 2 else."),
    _score("padua_exophytic", "Exophytic", "As E."),
    _score("padua_rim", "Rim", "1 lateral of the kidney's axis by more than half of its volume, 2 medial."),
    _score("padua_sinus", "Sinus", "1 not involved, 2 it touches the sinus."),
    _score("padua_collecting", "Collecting system", "1 free, 2 displaced or infiltrated: no mask tells."),
    _score("padua_size", "Size", "Axial diameter: 1 up to 40 mm, 2 up to 70 mm, 3 above."),
    _score("spare", "SPARE's parts", "Rim, sinus, exophytic share, size in words (Ficarra et al. 2019); no points."),
)

OF: Final[Mapping[Organ, Mapping[str, Definition]]] = {
    "kidney": {one.name: one for one in _KIDNEY},
    "tumor": {one.name: one for one in (*_SIZE, *_PLACE, *_SCORE)},
}
"""By organ and name, in the order in which they are shown."""
