"""A NIfTI header places its voxels up to twice, by sform and by qform: both must agree, and be no shear.

ITK takes the one or the other by rules of its own (a qform of code 1 beats a sform of code 2, and hides that it is
sheared), takes the spacing from pixdim whatever the sform says, and readers such as nibabel decide otherwise: a file
that means two things is refused here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bisc.core.errors import InputError
from bisc.core.geometry import GRID_TOLERANCE_VOXELS, Float
from bisc.imageio.axes import NO_ORIENTATION, check_direction, say_straightened
from bisc.imageio.nifti_header import NiftiHeader
from bisc.system.console import notice

FORMS_TOLERANCE_MM: Final = 1.0
FORMS_TOLERANCE: Final = 1e-3
"""How far sform and qform may place a voxel apart: a millimetre, or this part of the grid's diagonal, or, as two files
may, `GRID_TOLERANCE_VOXELS`. The qform's quaternion is kept in float32 without its first part, sqrt(1 - b2 - c2 - d2),
whose rounding turns an oblique grid by up to 6.4e-4 rad: 0.7 mm at the far corner of a scan of 500 x 500 x 800 mm."""

PERMISSIVE: Final = "ITK_NIFTI_SFORM_PERMISSIVE"
os.environ.setdefault(PERMISSIVE, "1")
# A sform bent by more than some 1e-4 ITK refuses ('No orthonormal definition found') unless this says to straighten it;
# what may be straightened is decided below, before ITK sees a file. ITK offers no other way through SimpleITK and asks
# at each read; set and unset around each, it was missing where another thread read. A user's own value stays.
UNIT_MM: Final = {1: 1000.0, 2: 1.0, 3: 0.001}
"""Length of xyzt_units' codes: metre, millimetre, micrometre; 0 (unknown) is taken for mm."""
RAS_TO_LPS: Final = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Forms:
    """Where a NIfTI-1 header places its voxels.

    Attributes:
        size_xyz: Voxels per index axis.
        pixdim_mm: Spacing per index axis.
        sform, qform: (3, 4) from (x, y, z, 1) voxel index to LPS mm; None where the header's code is 0.
    """

    size_xyz: tuple[int, int, int]
    pixdim_mm: Float
    sform: Float | None
    qform: Float | None

    @classmethod
    def of(cls, header: NiftiHeader) -> Forms | None:
        """The forms of a 3-D header; None of one with fewer axes, which ITK reads and we do not."""
        if len(header.sizes) < 3:
            return None
        mm = UNIT_MM.get(header.unit, 1.0)
        qform = None if header.qform is None else RAS_TO_LPS @ _qform(header.qform, np.array(header.pixdim)) * mm
        sform = None if header.sform is None else RAS_TO_LPS @ header.sform * mm
        x, y, z = header.sizes[:3]
        return cls((x, y, z), np.array(header.spacing) * mm, sform, qform)

    def tolerance_mm(self) -> float:
        """How far apart rounding may bring the two."""
        diagonal = float(np.linalg.norm(np.asarray(self.size_xyz) * self.pixdim_mm))
        return max(FORMS_TOLERANCE_MM, FORMS_TOLERANCE * diagonal)

    def apart(self) -> tuple[float, float]:
        """How far apart sform and qform place corners: in mm at most, and on average in voxels along an axis.

        Without a qform, sform and pixdim along the sform's axes.
        """
        if self.sform is None:
            return 0.0, 0.0
        other = self.qform
        if other is None:
            scaled = self.sform[:, :3] / np.linalg.norm(self.sform[:, :3], axis=0) * self.pixdim_mm
            other = np.column_stack([scaled, self.sform[:, 3]])
        picks = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        corners = np.column_stack([picks * (np.asarray(self.size_xyz) - 1), np.ones(8)])
        mm = corners @ (self.sform - other).T
        voxels = np.linalg.solve(self.sform[:, :3], mm.T)
        return float(np.linalg.norm(mm, axis=1).max()), float(np.abs(voxels).mean(axis=1).max())


def check_forms(path: Path, header: NiftiHeader) -> None:
    """Check the forms of a file's `header`; notices say what is made of one without orientation, or a little bent.

    Raises:
        InputError: If the sform is sheared or singular, or places voxels elsewhere than the qform or pixdim does.
    """
    forms = Forms.of(header)
    if forms is None:
        return
    if forms.sform is None:
        if forms.qform is None:
            found, done = NO_ORIENTATION
            notice(path, f"{found} (sform and qform codes are 0)", done)
        return
    axes = forms.sform[:, :3]
    if not np.isfinite(forms.sform).all() or abs(np.linalg.det(axes / forms.pixdim_mm)) < 1e-6:
        raise InputError(path, "its sform is singular", "three axes", "correct the header")
    unit = axes / np.linalg.norm(axes, axis=0)
    check_direction(path, unit)
    apart, apart_voxels = forms.apart()
    if apart > forms.tolerance_mm() and apart_voxels > GRID_TOLERANCE_VOXELS:
        other = "pixdim" if forms.qform is None else "qform"
        raise InputError(
            path,
            f"sform and {other} place voxels up to {apart:.3g} mm apart",
            f"one place for each voxel (to {forms.tolerance_mm():.3g} mm or {GRID_TOLERANCE_VOXELS} voxels on average)",
            f"correct the wrong one of the two ({_describe(forms)})",
        )
    say_straightened(path, float(np.abs(unit.T @ unit - np.eye(3)).max()))


def _describe(forms: Forms) -> str:
    """The two in question, in LPS: origin and spacing along each index axis."""
    parts = []
    for name, form in (("sform", forms.sform), ("qform", forms.qform)):
        if form is not None:
            steps = ", ".join("(" + " ".join(f"{v:.4g}" for v in column) + ")" for column in form[:, :3].T + 0.0)
            parts.append(f"{name}: steps {steps}, origin ({' '.join(f'{v:.4g}' for v in form[:, 3])}) LPS mm")
    return "; ".join(parts) + f"; pixdim: {' x '.join(f'{v:.4g}' for v in forms.pixdim_mm)} mm"


def _qform(quaternion_and_offset: tuple[float, ...], pixdim: Float) -> Float:
    """(3, 4) RAS affine of the quaternion (NIfTI-1 standard, method 2)."""
    length = float(np.linalg.norm(quaternion_and_offset[:3]))
    # Longer than 1 by rounding, or no rotation at all: normalised, as nifti1_io does.
    b, c, d = (float(v) / max(1.0, length) for v in quaternion_and_offset[:3])
    a = max(0.0, 1.0 - length**2) ** 0.5
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    qfac = -1.0 if pixdim[0] < 0 else 1.0
    scaled = turn * (pixdim[1:4] * np.array([1.0, 1.0, qfac]))
    return np.column_stack([scaled, quaternion_and_offset[3:]])
