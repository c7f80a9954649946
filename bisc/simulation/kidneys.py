"""Shapes of procedural kidneys, tumours and cysts: numbers first, then signed distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import Triple
from bisc.simulation.frame import Field, Frame, smooth_noise
from bisc.simulation.shapes import ellipsoid_distance, local_axes, rotation, smooth_minimum, tube_distance


@dataclass(frozen=True)
class Kidney:
    """A bent ellipsoid with a hollow on its medial side.

    Attributes:
        side: +1 for the left kidney, -1 for the right.
        centre_zyx: In mm of the patient frame.
        semi_wvu: Half-lengths along the long axis, front to back, and medial to lateral.
        angles_deg: Tilt, roll and turn (see `rotation`), mirrored for the right side.
        bend_mm: How far the poles lie medial of the middle.
        hilum: The hollow's half-lengths as shares of `semi_wvu`.
    """

    side: int
    centre_zyx: Triple
    semi_wvu: Triple
    angles_deg: Triple
    bend_mm: float
    hilum: Triple

    @property
    def turn(self) -> npt.NDArray[np.float32]:
        """Patient offsets to the kidney's own axes; u grows laterally on both sides."""
        return rotation(*self.angles_deg) * np.array([1, 1, self.side], np.float32)

    def point(self, wvu: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """A point given in the kidney's axes, in patient (z, y, x) mm."""
        return np.asarray(self.turn.T @ np.asarray(wvu, float) + np.asarray(self.centre_zyx), float)

    def distance(self, frame: Frame) -> Field:
        """Signed distance in mm to the parenchyma, positive inside."""
        w, v, u = local_axes(frame, self.centre_zyx, self.turn)
        a, b, c = self.semi_wvu
        bent = u + np.float32(self.bend_mm) * (w / np.float32(a)) ** 2
        body = ellipsoid_distance(w, v, bent, self.semi_wvu)
        share = np.asarray(self.hilum)
        hollow = ellipsoid_distance(w, v, u + np.float32(0.95 * c), share * np.array([a, b, c]))
        return smooth_minimum(body, -hollow, 4.0)


@dataclass(frozen=True)
class Tumor:
    """A rough ellipsoid, sometimes with a second one grown to it and a plug in the renal vein.

    Attributes:
        centre_zyx: In mm of the patient frame.
        semi_zyx: Half-lengths in mm.
        rough: Height of its bumps as a share of the radius (of 30 mm in larger ones).
        lobe: Offset in mm (z, y, x) and size relative to the tumour's own of a second ellipsoid, or None.
        vein_zyx: Course of the plug from the tumour through the hilum towards the vena cava; empty without one.
        vein_mm: Its radius.
    """

    centre_zyx: Triple
    semi_zyx: Triple
    rough: float
    lobe: tuple[Triple, float] | None = None
    vein_zyx: tuple[Triple, ...] = ()
    vein_mm: float = 0.0

    @property
    def radius_mm(self) -> float:
        """Mean half-length."""
        return float(np.mean(self.semi_zyx))

    @property
    def box_mm_zyx(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Two corners that everything of it lies between."""
        reach = 1.35 * np.asarray(self.semi_zyx) + 5
        parts = [np.asarray(self.centre_zyx) + sign * reach for sign in (-1, 1)]
        if self.lobe is not None:
            middle = np.asarray(self.centre_zyx) + self.lobe[0]
            parts += [middle + sign * reach * self.lobe[1] for sign in (-1, 1)]
        parts += [np.asarray(p) + sign * (self.vein_mm + 3) for p in self.vein_zyx for sign in (-1, 1)]
        return np.min(parts, axis=0), np.max(parts, axis=0)

    def distance(self, frame: Frame, bumps: np.random.Generator) -> Field:
        """Signed distance in mm, positive inside; `bumps` draws the surface, coarse and fine."""
        radius = self.radius_mm
        solid = ellipsoid_distance(*local_axes(frame, self.centre_zyx, None), self.semi_zyx)
        if self.lobe is not None:
            offset, size = self.lobe
            middle, semi = np.add(self.centre_zyx, offset), size * np.asarray(self.semi_zyx)
            solid = -smooth_minimum(-solid, -ellipsoid_distance(*local_axes(frame, middle, None), semi), 5.0)
        high = np.float32(self.rough * min(radius, 30.0))
        solid += high * smooth_noise(bumps, frame, max(0.7 * radius, 6.0))
        solid += np.float32(0.4) * high * smooth_noise(bumps, frame, max(0.25 * radius, 4.0))
        if self.vein_zyx:
            plug = tube_distance(frame, self.vein_zyx, [self.vein_mm] * len(self.vein_zyx))
            solid = -smooth_minimum(-solid, -plug, 4.0)
        return np.asarray(solid, np.float32)


@dataclass(frozen=True)
class Cyst:
    """A ball of fluid that counts as kidney in what is written."""

    centre_zyx: Triple
    radius_mm: float


@dataclass(frozen=True)
class Anatomy:
    """The labelled organs of one patient; `bridge_zyx` joins the lower poles of a horseshoe kidney."""

    kidneys: tuple[Kidney, ...]
    tumors: tuple[Tumor, ...]
    cysts: tuple[Cyst, ...] = ()
    bridge_zyx: tuple[Triple, ...] = ()
    bridge_mm: float = 0.0

    @property
    def kind(self) -> str:
        """'pair', 'single' or 'fused'."""
        return "fused" if self.bridge_zyx else ("pair" if len(self.kidneys) == 2 else "single")
