"""How far a volume or a diameter may be off, from the softmax that its mask was cut out of. Pure functions.

A segment is drawn twice more, as a decision would that is stricter or laxer by `SHIFT` in log odds. How far the two
sizes lie from the mask's own tells how blurred its border is, not yet how often the truth lies between them: errors of
neighbouring voxels go together, and a network may be surely wrong. So each distance is widened by a factor and a share
of the size that were fitted on simulated patients (docs/lab/flags.md has them, and the coverage on others).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.geometry import Triple, as_int_triple
from bisc.core.labels import CONNECT_26
from bisc.core.volume import Box
from bisc.evaluation.diameters import axial_diameter_mm, diameter_mm
from bisc.preprocessing.segments import Organ

Mask = npt.NDArray[np.bool_]
Interval = tuple[float, float]

SHIFT: Final = float(np.log(0.9 / 0.1))
"""In log odds: a voxel is in the laxer mask from p = 0.1 on, in the stricter one from 0.9 on."""
ROOM_MM: Final = 20.0
"""Around a segment, that the laxer mask may grow into."""
NOMINAL: Final = 0.9
"""The share of true sizes that the intervals are meant to hold, where the segment is there at all."""


@dataclass(frozen=True)
class Widening:
    """What an interval is made of on either side: `factor` times the distance to the shifted mask's size, and `share`
    of the size itself."""

    factor: float
    share: float


VOLUME: Final[dict[Organ, Widening]] = {"kidney": Widening(1.31, 0.05), "tumor": Widening(1.24, 0.3)}
DIAMETER: Final[dict[Organ, Widening]] = {"kidney": Widening(1.34, 0.1), "tumor": Widening(1.34, 0.1)}


def volume_interval_ml(
    probability: npt.NDArray[np.floating],
    own: Mask,
    spacing_mm_zyx: Triple,
    organ: Organ,
    other: Mask | None = None,
    widening: Widening | None = None,
) -> Interval:
    """Least and largest volume in ml that a segment may have, with a nominal coverage of `NOMINAL`.

    Args:
        probability: (z, y, x) softmax of the segment's class; outside of all ROIs 0.
        own: Its mask, of the same shape.
        spacing_mm_zyx: Of both.
        organ: What it is.
        other: What belongs to other segments, and cannot be its own too.
        widening: Of another calibration; None takes that of `VOLUME`.

    Returns:
        (low, high) around the mask's own volume; (0, 0) of an empty mask.

    Raises:
        ValueError: If the shapes differ.
    """
    voxel_ml = float(np.prod(spacing_mm_zyx)) / 1000.0
    return _interval(
        lambda mask: float(np.count_nonzero(mask)) * voxel_ml,
        (probability, own, other),
        spacing_mm_zyx,
        widening or VOLUME[organ],
    )


def diameter_interval_mm(
    probability: npt.NDArray[np.floating],
    own: Mask,
    spacing_mm_zyx: Triple,
    organ: Organ = "tumor",
    other: Mask | None = None,
    widening: Widening | None = None,
    axial: bool = True,
) -> Interval:
    """Least and largest diameter in mm that a segment may have, with a nominal coverage of `NOMINAL`.

    Args:
        probability: As of `volume_interval_ml`, and so are own, spacing_mm_zyx, organ, other.
        widening: Of another calibration; None takes that of `DIAMETER`.
        axial: Within one axial slice (`bisc.evaluation.diameters.axial_diameter_mm`), else through the whole.

    Raises:
        ValueError: If the shapes differ.
    """
    measure = axial_diameter_mm if axial else diameter_mm
    return _interval(
        lambda mask: measure(mask, spacing_mm_zyx),
        (probability, own, other),
        spacing_mm_zyx,
        widening or DIAMETER[organ],
    )


def shifted_masks(
    probability: npt.NDArray[np.floating], own: Mask, other: Mask | None, shift: float = SHIFT
) -> tuple[Mask, Mask]:
    """A segment's stricter and laxer mask; what the laxer one holds is connected to the segment, and no other's."""
    least, most = 1.0 / (1.0 + np.exp(-shift)), 1.0 / (1.0 + np.exp(shift))
    allowed = probability >= most if other is None else (probability >= most) & ~other
    grown, _ = ndimage.label(allowed | own, structure=CONNECT_26)
    kept = np.zeros(int(grown.max()) + 1, bool)
    kept[np.unique(grown[own])] = True
    return own & (probability >= least), np.asarray(kept[grown])


def _interval(
    measure: Callable[[Mask], float],
    arrays: tuple[npt.NDArray[np.floating], Mask, Mask | None],
    spacing_mm_zyx: Triple,
    widening: Widening,
) -> Interval:
    probability, own, other = arrays
    if probability.shape != own.shape or (other is not None and other.shape != own.shape):
        raise ValueError("a probability and masks of one shape")
    box = Box.of_mask(own)
    if box is None:
        return 0.0, 0.0
    room = tuple(int(np.ceil(ROOM_MM / mm)) for mm in spacing_mm_zyx)
    near = box.padded((room[0], room[1], room[2])).clipped(as_int_triple(own.shape))
    assert near is not None  # it holds the segment
    at = near.to_slices()
    strict, lax = shifted_masks(probability[at], own[at], None if other is None else other[at])
    size = measure(own[at])
    down, up = (widening.factor * abs(measure(mask) - size) + widening.share * size for mask in (strict, lax))
    return max(size - down, 0.0), size + up
