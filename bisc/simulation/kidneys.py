"""Procedural kidneys and tumours: shapes drawn as numbers first, then as a label map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.geometry import Triple
from bisc.core.labels import CONNECT_26, KIDNEY, TUMOR
from bisc.simulation.frame import Field, Frame, smooth_noise
from bisc.simulation.shapes import ellipsoid_distance, local_axes, rotation, smooth_minimum, tube_distance

Labels = npt.NDArray[np.uint8]

SINGLE_SHARE, FUSED_SHARE, TUMOR_FREE_SHARE = 0.03, 0.03, 0.015
SIZE_LOG_MEAN, SIZE_LOG_STD = 1.39, 0.60
"""Of log(tumour diameter in cm): the 167 `radiographic_size` entries of KiTS19's public facts (median 4.0 cm)."""
SPECK_ML = 1.0
"""Smaller components that the surface noise or a clipped tumour leaves are dropped."""


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
    """A rough ellipsoid.

    Attributes:
        centre_zyx: In mm of the patient frame.
        semi_zyx: Half-lengths in mm.
        rough: Height of its bumps as a share of the radius.
    """

    centre_zyx: Triple
    semi_zyx: Triple
    rough: float

    @property
    def radius_mm(self) -> float:
        """Mean half-length."""
        return float(np.mean(self.semi_zyx))


@dataclass(frozen=True)
class Anatomy:
    """The labelled organs of one patient; `bridge_zyx` joins the lower poles of a horseshoe kidney."""

    kidneys: tuple[Kidney, ...]
    tumors: tuple[Tumor, ...]
    bridge_zyx: tuple[Triple, ...] = ()
    bridge_mm: float = 0.0

    @property
    def kind(self) -> str:
        """'pair', 'single' or 'fused'."""
        return "fused" if self.bridge_zyx else ("pair" if len(self.kidneys) == 2 else "single")


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw kidneys and tumours. Shares: see the constants above; the left kidney lies about 15 mm higher."""
    draw = float(rng.random())
    fused, single = draw < FUSED_SHARE, FUSED_SHARE <= draw < FUSED_SHARE + SINGLE_SHARE
    pair = [_draw_kidney(rng, side, fused, single) for side in (-1, 1)]
    keep = int(rng.integers(2))
    kidneys = (pair[keep],) if single else tuple(pair)
    count = 0 if rng.random() < TUMOR_FREE_SHARE else int(rng.choice([1, 2, 3], p=[0.88, 0.1, 0.02]))
    tumors = tuple(_draw_tumor(rng, kidneys[int(rng.integers(len(kidneys)))], i) for i in range(count))
    if not fused:
        return Anatomy(kidneys, tumors)
    poles = [k.point((-0.8 * k.semi_wvu[0], 0, -k.bend_mm)) for k in kidneys]
    middle = np.array([min(p[0] for p in poles) - 5, -48.0, 0.0])
    path = [
        poles[0],
        (poles[0] + middle) / 2 - [4, 8, 0],
        middle,
        (poles[1] + middle) / 2 - [4, 8, 0],
        poles[1],
    ]
    chain = tuple((float(z), float(y), float(x)) for z, y, x in path)
    return Anatomy(kidneys, tumors, chain, float(rng.uniform(11, 17)))


def _draw_kidney(rng: np.random.Generator, side: int, fused: bool, single: bool) -> Kidney:
    size = float(np.exp(rng.normal(0, 0.08))) * (1.15 if single else 1.0)
    semi = size * np.array([rng.normal(56, 3), rng.normal(27, 1.5), rng.normal(31, 1.5)])
    z = (8 if side > 0 else -8) + rng.normal(0, 7) - (25 if fused else 0)
    centre = (z, rng.normal(-8 if fused else 4, 6), side * (rng.normal(70, 5) - (8 if fused else 0)))
    tilt = rng.normal(-14, 4) if fused else rng.normal(14, 6)
    angles = (float(tilt), float(rng.normal(-10, 5)), float(rng.normal(33, 12)))
    hilum = (rng.uniform(0.34, 0.5), rng.uniform(0.28, 0.42), rng.uniform(0.7, 0.95))
    return Kidney(
        side,
        (float(centre[0]), float(centre[1]), float(centre[2])),
        (float(semi[0]), float(semi[1]), float(semi[2])),
        angles,
        float(rng.uniform(4, 11)),
        (float(hilum[0]), float(hilum[1]), float(hilum[2])),
    )


def _draw_tumor(rng: np.random.Generator, kidney: Kidney, number: int) -> Tumor:
    diameter_cm = float(np.exp(rng.normal(SIZE_LOG_MEAN, SIZE_LOG_STD)))
    radius = 5 * float(np.clip(diameter_cm, 1.2, 11.0)) * (0.6 if number else 1.0)
    radius = max(radius, 6.0)
    up, around = np.radians(rng.uniform(-75, 75)), np.radians(rng.uniform(-115, 115))
    way = np.array([np.sin(up), np.cos(up) * np.sin(around), np.cos(up) * np.cos(around)])
    out = rng.uniform(-0.45, 0.6) if radius < 20 else rng.uniform(0.1, 0.75)  # large ones always bulge
    local = way * np.asarray(kidney.semi_wvu) * 0.97 + way * radius * out
    local[2] -= kidney.bend_mm * (local[0] / kidney.semi_wvu[0]) ** 2
    z, y, x = kidney.point(local)
    if radius > 20:  # there is no room behind the kidney: the large ones grow forwards and sideways
        y = min(y, 22 - 0.45 * radius)
        x = kidney.side * max(kidney.side * x, 40 + 0.7 * radius)
    semi = radius * np.exp(rng.normal(0, 0.08, 3))
    return Tumor(
        (float(z), float(y), float(x)),
        (float(semi[0]), float(semi[1]), float(semi[2])),
        float(rng.uniform(0.03, 0.13)),
    )


def draw_labels(anatomy: Anatomy, frame: Frame, rng: np.random.Generator) -> Labels:
    """The label map of `anatomy` on `frame` (voxel centres decide); tumour wins over kidney.

    Args:
        anatomy: What to draw.
        frame: Where.
        rng: Draws the unevenness of the surfaces.
    """
    labels = np.zeros(frame.shape_zyx, np.uint8)
    for kidney in anatomy.kidneys:
        cut = frame.slices(np.subtract(kidney.centre_zyx, 85), np.add(kidney.centre_zyx, 85))
        bumps = np.random.default_rng(rng.integers(2**63))  # one draw each, also where the grid misses the organ
        if cut is not None:
            part = frame.cut(cut)
            solid = kidney.distance(part) + np.float32(1.3) * smooth_noise(bumps, part, 16.0)
            labels[cut][solid > 0] = KIDNEY
    if anatomy.bridge_zyx:
        labels[tube_distance(frame, anatomy.bridge_zyx, [anatomy.bridge_mm] * len(anatomy.bridge_zyx)) > 0] = KIDNEY
    for tumor in anatomy.tumors:
        bumps = np.random.default_rng(rng.integers(2**63))
        reach = 1.3 * np.asarray(tumor.semi_zyx) + 5
        cut = frame.slices(tumor.centre_zyx - reach, tumor.centre_zyx + reach)
        if cut is None:
            continue
        part = frame.cut(cut)
        radius = tumor.radius_mm
        solid = ellipsoid_distance(*local_axes(part, tumor.centre_zyx, None), tumor.semi_zyx)
        solid += np.float32(tumor.rough * radius) * smooth_noise(bumps, part, max(0.7 * radius, 6.0))
        labels[cut][smooth_minimum(solid, _room(part), 6.0) > 0] = TUMOR
    return _without_specks(labels, float(np.prod(frame.spacing_mm_zyx)) / 1000)


def _room(frame: Frame) -> Field:
    """Distance to where no tumour grows: the spine with its muscles, and the back's wall."""
    _, y, x = frame.open_zyx
    spine = np.sqrt(((y - 8) / 38) ** 2 + (x / 40) ** 2)
    wall = 58 - y - np.float32(0.25) * np.abs(np.abs(x) - 75)
    room = np.minimum((spine - 1) * 38, wall)
    return np.broadcast_to(room, frame.shape_zyx).astype(np.float32)


def _without_specks(labels: Labels, voxel_ml: float) -> Labels:
    parts, count = ndimage.label(labels > 0, CONNECT_26)
    if count > 1:
        volume = np.bincount(parts.ravel()) * voxel_ml
        labels[(volume < min(SPECK_ML, volume[1:].max()))[parts]] = 0
    return labels
