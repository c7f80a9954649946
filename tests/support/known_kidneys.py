"""Two kidneys whose poles, polar lines, sides and outlines are known, with a tumour where one asks for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import Geometry
from bisc.core.volume import Volume
from bisc.measurement.measure import measure
from bisc.measurement.measures import CaseMeasures, Measure
from bisc.preprocessing.segments import divide

SPACING = (3.0, 0.8, 0.8)
SHAPE = (62, 110, 250)
ORIGIN = (-99.6, -43.6, -91.5)  # the grid's middle is (0, 0, 0)
GRID = Geometry(SHAPE, SPACING, ORIGIN)
RADII = (54.0, 22.0, 30.0)
"""mm along z, y and x of a kidney before it is turned."""
CENTRE_X = {"left": 55.0, "right": -55.0}
LINE_MM = 24.0
"""The sinus lies within so many mm of the kidney's middle along z, so these are the polar lines."""


@dataclass(frozen=True)
class Ball:
    """A tumour: centre in the kidney's own axes, mm along z (superior), front (anterior) and towards the hilum."""

    z: float
    front: float
    medial: float
    radius: float


def kidneys(
    ball: Ball | None, side: str = "left", turned_deg: float = 30.0, grid: Geometry = GRID, only: bool = False
) -> npt.NDArray[np.uint8]:
    """Two ellipsoids with a sinus carved in on the medial side, turned about z so that the hilum looks forward."""
    z, y, x = np.meshgrid(
        *(np.arange(n) * mm for n, mm in zip(grid.shape_zyx, grid.spacing_mm_zyx, strict=True)),
        indexing="ij",
        sparse=True,
    )
    x0, y0, z0 = grid.origin_mm_xyz
    out = np.zeros(grid.shape_zyx, np.uint8)
    for name, centre_x in CENTRE_X.items():
        if only and name != side:
            continue
        medial = -np.sign(centre_x)
        angle = np.deg2rad(turned_deg)
        dx, dy, dz = (x + x0 - centre_x) * medial, -(y + y0), z + z0  # towards the hilum, forwards, upwards
        towards, front = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        organ = (dz / RADII[0]) ** 2 + (front / RADII[1]) ** 2 + (towards / RADII[2]) ** 2 <= 1
        sinus = (np.abs(dz) <= LINE_MM) & (np.abs(front) <= 7.0) & (towards >= 8.0)
        out[organ & ~sinus] = 1
        if ball is not None and name == side:
            away = (dz - ball.z) ** 2 + (front - ball.front) ** 2 + (towards - ball.medial) ** 2
            out[away <= ball.radius**2] = 2
    return out


def measured(labels: npt.NDArray[np.uint8], image: Volume | None = None, grid: Geometry = GRID) -> CaseMeasures:
    return measure("case", *divide(labels, grid, 20.0), grid, image)


def of(found: CaseMeasures, name: str) -> dict[str, Measure]:
    (one,) = [dict(s.measures) for s in found.structures if s.segment.name == name]
    return one
