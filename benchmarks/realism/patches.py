"""Patches of real and of simulated slices, centred in the same kinds of places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.realism.regions import ring
from benchmarks.realism.slices import Mask, Slice, by_patient

SIDE_PX: Final = 48
PER_PLACE: Final = 12
PLACES: Final = ("kidney", "tumour", "surroundings")


@dataclass(frozen=True)
class Patches:
    """`hu` (n, 48, 48) of 0..255; of each, the index of its place in PLACES and the number of its patient."""

    hu: npt.NDArray[np.float32]
    place: npt.NDArray[np.int64]
    patient: npt.NDArray[np.int64]

    @property
    def n_patients(self) -> int:
        """Patients are numbered from 0 without a gap."""
        return int(self.patient.max()) + 1 if self.patient.size else 0


def cut_patches(slices: Sequence[Slice], seed: int, per_place: int = PER_PLACE) -> Patches:
    """At most `per_place` patches of each patient in each kind of place, wholly within the slice.

    So a patient of nineteen slices gives as many as one of a single slice. Places that a patient does not show are
    left out of it, and patients that show none are left out.
    """
    hu: list[npt.NDArray[np.float64]] = []
    place: list[int] = []
    patient: list[int] = []
    n = 0
    for own in by_patient(slices).values():
        before = len(hu)
        rng = np.random.default_rng([seed, n])
        for kind, name in enumerate(PLACES):
            centres = [(i, y, x) for i, s in enumerate(own) for y, x in np.argwhere(_inside(centre_mask(s, name)))]
            for c in rng.permutation(len(centres))[:per_place]:
                i, y, x = centres[int(c)]
                hu.append(own[i].hu[y - SIDE_PX // 2 :, x - SIDE_PX // 2 :][:SIDE_PX, :SIDE_PX])
                place.append(kind)
                patient.append(n)
        n += len(hu) > before
    stack = np.array(hu, np.float32).reshape(-1, SIDE_PX, SIDE_PX)
    return Patches(stack, np.array(place, np.int64), np.array(patient, np.int64))


def centre_mask(s: Slice, place: str) -> Mask:
    """Where a patch of that place may be centred: in the label, or 12 to 60 px beside kidneys and tumours."""
    if place == "surroundings":
        return ring(s, 12, 60)
    return np.asarray(s.labels == 1 + PLACES.index(place))


def _inside(mask: Mask) -> Mask:
    """Without the centres whose patch would leave the slice."""
    half = SIDE_PX // 2
    out = np.zeros_like(mask)
    out[half : mask.shape[0] - half + 1, half : mask.shape[1] - half + 1] = True
    return np.asarray(out & mask)
