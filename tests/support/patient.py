"""A made-up patient for pages: two kidneys, a tumour on either side, every kind of measure and flag."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.flags import Flag, Flags
from bisc.core.geometry import Geometry
from bisc.core.volume import Volume
from bisc.measurement.measures import CaseMeasures, Measure, Structure
from bisc.preprocessing.segments import Segment, divide
from bisc.report.patient.page import PatientPage

SHAPE: Final = (30, 96, 140)
GRID: Final = Geometry(SHAPE, (5.0, 2.0, 2.0), (-140.0, -96.0, 30.0))


def labels() -> npt.NDArray[np.uint8]:
    """Right kidney at x 30, left at x 105; a tumour of 40 x 40 mm in the left one, of 20 x 20 mm in the right one."""
    array = np.zeros(SHAPE, np.uint8)
    z, y, x = np.indices(SHAPE, sparse=True)
    for middle in (30, 105):
        array[((z - 15) / 11) ** 2 + ((y - 55) / 15) ** 2 + ((x - middle) / 15) ** 2 < 1] = 1
    array[12:18, 40:60, 105:125] = 2
    array[18:22, 60:70, 20:30] = 2
    return array


def image(array: npt.NDArray[np.uint8]) -> Volume:
    """Soft tissue with noise, kidneys brighter, tumours between."""
    noise = np.random.default_rng(7).normal(0, 12, SHAPE)
    return Volume((np.choose(array, [30, 150, 90]) + noise).astype(np.int16), GRID)


def measured(segments: list[Segment], case: str = "case_00001") -> CaseMeasures:
    """Values as a page may meet them: given, between, withheld, a category, a stand-in."""
    structures = []
    for one in segments:
        values: dict[str, Measure] = {
            "volume_ml": Measure(round(one.volume_ml, 3), one.volume_ml * 0.9, one.volume_ml * 1.1)
        }
        if one.organ == "tumor":
            z, y, first, last = (14, 50, 104.5, 124.5) if one.rank == 1 else (19, 65, 19.5, 29.5)
            ends = tuple(tuple(map(float, GRID.index_to_physical([z, y, x]))) for x in (first, last))
            values |= {
                "axial_mm": Measure(40.0 if one.rank == 1 else 20.0, ends=ends),  # type: ignore[arg-type]
                "depth_mm": Measure(None, why="the kidney's outline is not closed here"),
                "renal": Measure(None, 4, 9, "the collecting system is not segmented"),
                "renal_a": Measure("a"),
                "padua": Measure(7, why="sinus taken from the hull", proxy=True),
            }
        structures.append(Structure(one, values))
    return CaseMeasures(case, tuple(structures), ("Measured on the mask as it is.",))


def flags() -> Flags:
    """Amber, for one of two."""
    cut = Flag("cut_by_the_view", 0.0, 1.0, "green", "No kidney touches the end of the scan.")
    unsure = Flag("unsure_border", 0.31, 0.25, "amber", "The tumour's border is <b>unsure</b> & wide.")
    return Flags("amber", 0.21, (cut, unsure))


def page(array: npt.NDArray[np.uint8] | None = None, case: str = "case_00001", **more: object) -> PatientPage:
    """The whole page; of another label map where one is given."""
    array = labels() if array is None else array
    numbered, segments = divide(array, GRID, 20.0)
    made = {"flags": flags(), "provenance": {"Model": "Demo", "Checksum": "0123456789abcdef"}} | more
    return PatientPage(image(array), numbered, segments, measured(segments, case), **made)  # type: ignore[arg-type]
