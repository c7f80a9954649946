"""One kidney as a surgeon speaks of it: its outline without the tumour's bulge, poles, polar lines, sinus, hilum.

All of it from the label map, by conventions that docs/reference/measurements.md states:
the outline is the convex hull of the parenchyma and of a pole that a tumour took (a tumour beyond it is exophytic); the
sinus is what the hull of an axial slice holds beside the kidney on the medial side, or in its midst; the polar lines
bound the slices in which it is at least 5 mm deep, where the parenchyma's medial lip is open.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.geometry import Triple
from bisc.measurement.hull import hull_of, hull_of_slices
from bisc.measurement.poles import lost_pole

Mask = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float64]

SINUS_MM: Final = 5.0
"""So deep a medial dent is the sinus; 4 or 6 mm give the same polar lines, mostly (docs/lab/measurements.md)."""
GAP_MM: Final = 10.0
"""Slices between two parts of the sinus belong to it: parenchyma between calyces."""
LEAST_SINUS_MM: Final = 10.0
"""A shorter dent is none."""


@dataclass(frozen=True, eq=False)
class KidneyShape:
    """One kidney and its tumours, cut out with a voxel of room.

    Attributes:
        parenchyma: (z, y, x) the kidney's own voxels.
        tumors: (z, y, x) its tumours'.
        spacing_mm_zyx: Of the voxels.
        medial_x: +1 where the body's middle lies towards larger x (the patient's left), else -1.
    """

    parenchyma: Mask
    tumors: Mask
    spacing_mm_zyx: Triple
    medial_x: int

    @cached_property
    def outline(self) -> Mask:
        """The kidney filled: without what bulges, with the sinus and a pole that a tumour took."""
        return hull_of(self.parenchyma | self.lost, self.spacing_mm_zyx) if self.lost.any() else self._hull

    @cached_property
    def lost(self) -> Mask:
        """What tumours took of a pole; nothing where they outgrew the rest, which then tells too little."""
        if np.count_nonzero(self.tumors) > np.count_nonzero(self.parenchyma):
            return np.zeros_like(self.tumors)
        return lost_pole(self._hull, self.tumors, self.spacing_mm_zyx)

    @cached_property
    def depth_mm(self) -> Float:
        """How deep each voxel's centre lies within the outline; 0 outside."""
        room = np.pad(self.outline, 1)
        depth = edt.edt(room, anisotropy=self.spacing_mm_zyx, black_border=True)[1:-1, 1:-1, 1:-1]
        return np.asarray(depth, np.float64)

    @cached_property
    def sinus(self) -> Mask:
        """Where the slices' hulls hold neither kidney nor tumour: on the medial side, or in their midst, between the
        polar lines."""
        low, high = self.polar_slices or (0, 0)
        inside = np.zeros_like(self._dents)
        inside[low:high] = self._dents[low:high]
        return inside

    @cached_property
    def polar_slices(self) -> tuple[int, int] | None:
        """The first slice between the polar lines and the first above them; None where no sinus can be seen."""
        deep = np.flatnonzero(self._dent_depth_mm >= SINUS_MM)
        if not len(deep):
            return None
        breaks = np.flatnonzero(np.diff(deep) * self.spacing_mm_zyx[0] > GAP_MM) + 1
        runs = np.split(deep, breaks)
        low, high = max(((int(run[0]), int(run[-1]) + 1) for run in runs), key=lambda ends: self._weight(*ends))
        return (low, high) if (high - low) * self.spacing_mm_zyx[0] >= LEAST_SINUS_MM else None

    @cached_property
    def pole_slices(self) -> tuple[int, int]:
        """The outline's first slice, and the first above it."""
        z = np.flatnonzero(self.outline.any(axis=(1, 2)))
        return int(z[0]), int(z[-1]) + 1

    @cached_property
    def centre_mm_zyx(self) -> Float:
        """The outline's centre of mass, mm from the first voxel's centre."""
        return np.asarray(np.argwhere(self.outline).mean(axis=0) * self.spacing_mm_zyx)

    @cached_property
    def axis_mm_yx(self) -> Float:
        """(z, 2): where the kidney's long axis crosses each slice: a line through its sections' centres."""
        step = np.asarray(self.spacing_mm_zyx[1:])
        z = np.flatnonzero(self.outline.any(axis=(1, 2)))
        sections = [np.argwhere(self.outline[i]) for i in z]
        centres = np.stack([section.mean(axis=0) * step for section in sections])
        weights = np.sqrt([len(section) for section in sections])
        every = np.arange(len(self.outline))
        fits = [np.polyfit(z, c, min(1, len(z) - 1), w=weights) for c in centres.T]
        return np.stack([np.polyval(fit, every) for fit in fits], axis=1)

    @cached_property
    def hilum_yx(self) -> Float:
        """The direction within an axial slice from the axis to the sinus's opening, of length 1; straight medial where
        no sinus can be seen."""
        straight = np.array([0.0, float(self.medial_x)])
        if not self.sinus.any():
            return straight
        at = np.argwhere(self.sinus)
        towards = (at[:, 1:] * self.spacing_mm_zyx[1:] - self.axis_mm_yx[at[:, 0]]).mean(axis=0)
        length = float(np.linalg.norm(towards))
        return np.asarray(towards / length) if length > 0 and towards[1] * self.medial_x > 0 else straight

    def beside(self, mask: Mask) -> tuple[Float, Float]:
        """Of each of a mask's voxels: mm in front of (anterior to) the plane through axis and hilum, and mm towards the
        hilum from the axis."""
        at = np.argwhere(mask)
        off = at[:, 1:] * self.spacing_mm_zyx[1:] - self.axis_mm_yx[at[:, 0]]
        y, x = self.hilum_yx
        front = np.array([-abs(x), np.sign(x) * y])  # across the hilum's direction, towards smaller y: anterior
        return np.asarray(off @ front), np.asarray(off @ self.hilum_yx)

    def _weight(self, low: int, high: int) -> float:
        return float(self._dent_depth_mm[low:high].sum())

    @cached_property
    def _hull(self) -> Mask:
        return hull_of(self.parenchyma, self.spacing_mm_zyx)

    @cached_property
    def _hulls(self) -> Mask:
        return hull_of_slices((self.parenchyma | self.tumors) & self.outline)

    @cached_property
    def _dents(self) -> Mask:
        """Of each slice the parts of its hull that are no kidney, and lie medially of its middle or are enclosed."""
        organ, hulls = self.parenchyma | self.tumors, self._hulls
        dents = np.zeros_like(organ)
        for z in np.flatnonzero(hulls.any(axis=(1, 2))):
            parts, n = ndimage.label(hulls[z] & ~organ[z])
            if not n:
                continue
            middle_x = np.argwhere(hulls[z])[:, 1].mean()
            edge = hulls[z] & ~ndimage.binary_erosion(hulls[z])
            for part in (parts == number for number in range(1, n + 1)):
                medial = (np.argwhere(part)[:, 1].mean() - middle_x) * self.medial_x > 0
                dents[z] |= part if medial or not (part & edge).any() else False
        return dents

    @cached_property
    def _dent_depth_mm(self) -> Float:
        """Of each slice how far its dents reach inwards from its hull's edge."""
        hulls = self._hulls
        depth = np.zeros(len(hulls))
        for z in np.flatnonzero(self._dents.any(axis=(1, 2))):
            mm = edt.edt(np.pad(hulls[z], 1), anisotropy=self.spacing_mm_zyx[1:], black_border=True)[1:-1, 1:-1]
            depth[z] = float(mm[self._dents[z]].max())
        return depth
