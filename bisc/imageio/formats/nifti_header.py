"""A NIfTI header's fields, and where they place its voxels: up to twice, by sform and by qform, which must agree.

ITK takes the one or the other by rules of its own (a qform of code 1 beats a sform of code 2, and hides that it is
sheared), takes the spacing from pixdim whatever the sform says, and readers such as nibabel decide otherwise: a file
that means two things is refused here. nibabel's own header classes say the same of the fields, to 4e-16; they are not
used because their import takes 0.2 to 0.3 s and loads a network library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bisc.core.errors import InputError
from bisc.core.geometry import GRID_TOLERANCE_VOXELS, Float
from bisc.imageio.plausible import AGAIN, NO_ORIENTATION, check_direction
from bisc.system.console import notice

Header = np.void
"""A numpy record of one of the `LAYOUTS`."""
NIFTI1_BYTES, NIFTI2_BYTES = 348, 540
_FIELDS = (
    ("sizeof_hdr", "i4", 0, "i4", 0), ("dim", "8i2", 40, "8i8", 16), ("datatype", "i2", 70, "i2", 12),
    ("bitpix", "i2", 72, "i2", 14), ("pixdim", "8f4", 76, "8f8", 104), ("vox_offset", "f4", 108, "i8", 168),
    ("scl_slope", "f4", 112, "f8", 176), ("scl_inter", "f4", 116, "f8", 184), ("xyzt_units", "u1", 123, "i4", 500),
    ("descrip", "S80", 148, "S80", 240),
    ("qform_code", "i2", 252, "i4", 344), ("sform_code", "i2", 254, "i4", 348), ("qform", "6f4", 256, "6f8", 352),
    ("sform", "(3,4)f4", 280, "(3,4)f8", 400), ("magic", "S4", 344, "S8", 4),
)  # fmt: skip
"""Type and place in NIfTI-1, then in NIfTI-2; `qform` is the quaternion's b, c, d and the offset's x, y, z."""


def _layout(n_bytes: int, kinds: int) -> np.dtype[np.void]:
    fields: dict[str, Any] = {name: (kind[kinds], kind[kinds + 1]) for name, *kind in _FIELDS}
    formats, offsets = zip(*fields.values(), strict=True)
    return np.dtype({"names": list(fields), "formats": formats, "offsets": offsets, "itemsize": n_bytes})


LAYOUTS: Final = {NIFTI1_BYTES: _layout(NIFTI1_BYTES, 0), NIFTI2_BYTES: _layout(NIFTI2_BYTES, 2)}
SPACING_AGREEMENT: Final = 0.01
"""Relative, of pixdim and the steps of the sform: ITK goes by the one, most other programs by the other."""
SHEAR: Final = 1e-3
"""Cosine between two axes from which on they are not at right angles (0.06 degrees off)."""
FORMS_TOLERANCE_MM: Final = 1.0
FORMS_TOLERANCE: Final = 1e-3
"""How far sform and qform may place a voxel apart: a millimetre, or this part of the grid's diagonal, or, as two files
may, `GRID_TOLERANCE_VOXELS`. The qform's quaternion is kept in float32 without its first part, sqrt(1 - b2 - c2 - d2),
whose rounding turns an oblique grid by up to 6.4e-4 rad: 0.7 mm at the far corner of a scan of 500 x 500 x 800 mm."""
EPSILON: Final = float(np.finfo(np.float64).eps)
"""What a slope or intercept may differ from 1 or 0 by, and be none."""
UNIT_MM: Final = {1: 1000.0, 2: 1.0, 3: 0.001}
"""Length of xyzt_units' codes: metre, millimetre, micrometre; 0 (unknown) is taken for mm."""
RAS_TO_LPS: Final = np.diag([-1.0, -1.0, 1.0])


def check_place(path: Path, header: Header) -> float:
    """Refuse a header that places its voxels twice and not alike, or on axes that are none; how far the sform is from
    orthonormal, 0 where there is none. A notice tells of a header without orientation."""
    sizes = sizes_of(header)[:3]
    mm = UNIT_MM.get(int(header["xyzt_units"]) & 7, 1.0)
    pixdim = header["pixdim"][1 : 1 + len(sizes)].astype(float)
    sform, qform = _form(path, header, "sform"), _form(path, header, "qform")
    if sform is not None:
        _check_steps(path, sform[:, : len(sizes)], pixdim)
    if len(sizes) < 3:
        return 0.0  # ITK reads it, and it is refused as no volume
    if sform is None:
        if qform is None:
            found, done = NO_ORIENTATION
            notice(path, f"{found} (sform and qform codes are 0)", done)
        return 0.0
    axes = sform[:, :3]
    if abs(np.linalg.det(axes / pixdim)) < 1e-6:
        raise InputError(path, "its sform is singular", "three axes", "correct the header")
    unit = RAS_TO_LPS @ axes / np.linalg.norm(axes, axis=0)
    check_direction(path, unit)
    _check_forms(path, np.array(sizes), pixdim * mm, sform * mm, None if qform is None else qform * mm)
    return float(np.abs(unit.T @ unit - np.eye(3)).max())


def scaled(slab: npt.NDArray[Any], slope: float, intercept: float) -> npt.NDArray[Any]:
    """slope * stored + intercept, in float32 as ITK gives it (float64 stays); a slope of 0 means none."""
    slope = slope if np.isfinite(slope) and abs(slope) > EPSILON else 1.0
    intercept = intercept if np.isfinite(intercept) else 0.0
    if abs(slope - 1.0) <= EPSILON and abs(intercept) <= EPSILON:
        return slab
    kind = np.float64 if slab.dtype.itemsize == 8 and slab.dtype.kind == "f" else np.float32
    result: npt.NDArray[Any] = (slab.astype(kind).astype(np.float64) * slope + intercept).astype(kind)
    return result


def straightened(header: Header) -> Header:
    """The header with the orthogonal sform nearest to its own (polar decomposition of its unit axes)."""
    straight = header.copy()
    axes = header["sform"][:, :3].astype(float)
    steps = np.linalg.norm(axes, axis=0)
    left, _, right = np.linalg.svd(axes / steps)
    straight["sform"][:, :3] = left @ right * steps
    return straight


def as_nifti1(two: Header) -> Header:
    """What a NIfTI-2 header says, in NIfTI-1's float32: what becomes 0 or infinite there is refused as such."""
    one: Header = np.zeros(1, LAYOUTS[NIFTI1_BYTES].newbyteorder("=" if two.dtype.isnative else "S"))[0]
    with np.errstate(over="ignore"):
        for name in ("dim", "datatype", "bitpix", "pixdim", "vox_offset", "scl_slope", "scl_inter", "qform", "sform"):
            one[name] = two[name]
    one["qform_code"], one["sform_code"] = (min(max(int(two[f"{form}_code"]), 0), 5) for form in ("qform", "sform"))
    one["xyzt_units"] = int(two["xyzt_units"]) & 0xFF
    one["sizeof_hdr"], one["magic"] = NIFTI1_BYTES, b"n+1"
    return one


def _form(path: Path, header: Header, name: str) -> Float | None:
    """(3, 4) from voxel index to LPS in the header's unit, by its sform or its qform; None where its code is 0."""
    if int(header[f"{name}_code"]) <= 0:
        return None
    values = header[name].astype(float)
    if not np.isfinite(values).all():
        raise InputError(path, "its header's orientation is NaN or infinite", "finite numbers", AGAIN)
    return np.asarray(RAS_TO_LPS @ (values if name == "sform" else _affine(values, header["pixdim"].astype(float))))


def _affine(qform: Float, pixdim: Float) -> Float:
    """(3, 4) RAS affine of a quaternion without its first part, and an offset (NIfTI-1 standard, method 2)."""
    length = float(np.linalg.norm(qform[:3]))
    # Longer than 1 by rounding, or no rotation at all: normalised, as nifti1_io does.
    b, c, d = qform[:3] / max(1.0, length)
    a = max(0.0, 1.0 - length**2) ** 0.5
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    third = -1.0 if pixdim[0] < 0 else 1.0
    return np.column_stack([turn * pixdim[1:4] * (1.0, 1.0, third), qform[3:]])


def _check_steps(path: Path, axes: Float, pixdim: Float) -> None:
    """Refuse two spacings; those of a sheared sform are no distances of slices, and are judged by their angle."""
    steps = np.linalg.norm(axes, axis=0)
    if (steps > 0).all() and np.abs((axes / steps).T @ (axes / steps) - np.eye(len(steps))).max() > SHEAR:
        return
    if (np.abs(steps - pixdim) > SPACING_AGREEMENT * pixdim).any():
        found = f"its header gives two spacings: {by(pixdim)} (pixdim) and {by(steps)} (sform)"
        raise InputError(path, found, "one spacing", "find out which is right, and save it with that one")


def _check_forms(
    path: Path, size_xyz: npt.NDArray[np.int_], pixdim_mm: Float, sform: Float, qform: Float | None
) -> None:
    """Refuse a sform that places voxels elsewhere than the qform, or, without one, than pixdim along its own axes."""
    other, name = qform, "qform"
    if other is None:
        scaled = sform[:, :3] / np.linalg.norm(sform[:, :3], axis=0) * pixdim_mm
        other, name = np.column_stack([scaled, sform[:, 3]]), "pixdim"
    picks = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    mm = np.asarray(np.column_stack([picks * (size_xyz - 1), np.ones(8)]) @ (sform - other).T, float)
    apart_mm = float(np.linalg.norm(mm, axis=1).max())
    apart_voxels = float(np.abs(np.linalg.solve(sform[:, :3], mm.T)).mean(axis=1).max())
    tolerance_mm = max(FORMS_TOLERANCE_MM, FORMS_TOLERANCE * float(np.linalg.norm(size_xyz * pixdim_mm)))
    if apart_mm <= tolerance_mm or apart_voxels <= GRID_TOLERANCE_VOXELS:
        return
    told = []
    for form, called in ((sform, "sform"), (qform, "qform")):
        if form is not None:
            steps = ", ".join("(" + " ".join(f"{v:.4g}" for v in column) + ")" for column in form[:, :3].T + 0.0)
            told.append(f"{called}: steps {steps}, origin ({' '.join(f'{v:.4g}' for v in form[:, 3])}) LPS mm")
    raise InputError(
        path,
        f"sform and {name} place voxels up to {apart_mm:.3g} mm apart",
        f"one place for each voxel (to {tolerance_mm:.3g} mm or {GRID_TOLERANCE_VOXELS} voxels on average)",
        f"correct the wrong one of the two ({'; '.join(told)}; pixdim: {' x '.join(f'{v:.4g}' for v in pixdim_mm)} mm)",
    )


def sizes_of(header: Header) -> tuple[int, ...]:
    """Voxels along each of the 1 to 7 axes; none where their number is another."""
    n_axes, *sizes = header["dim"].tolist()
    return tuple(sizes[:n_axes]) if 1 <= n_axes <= 7 else ()


def by(numbers: Float) -> str:
    """For messages: '0.7 x 0.8 x 3'."""
    return " x ".join(f"{v:g}" for v in numbers)
