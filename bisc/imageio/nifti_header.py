"""What ITK passes over in silence in a NIfTI header: it takes a spacing of 0 or NaN for 1 mm, mirrors an image whose
spacing is negative, and reads what is no NIfTI as the older Analyze format, whose place in space is unknown."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.errors import InputError
from bisc.imageio import nifti2

HEADER_BYTES: Final = 348
DATATYPE_AT, BYTE = 70, 2
"""Where NIfTI-1 says what its voxels are, and its code of unsigned bytes."""
PACKED_BYTES: Final = 1 << 16
"""Far more packed bytes than a header ever takes."""
GZIP_MAGIC: Final = b"\x1f\x8b"
GZIP_STREAM: Final = 31
"""zlib's code for a stream with a gzip header."""
SPACING_AGREEMENT: Final = 0.01
"""Relative. A NIfTI header states its spacing twice; ITK goes by the one, most other programs by the other."""
SHEAR: Final = 1e-3
"""Cosine between two axes from which on they are not at right angles (0.06 degrees off)."""
READABLE: Final = "a NIfTI, NRRD, MHA or DICOM image"
AGAIN: Final = "copy or export it again"


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """The fields of a NIfTI header that decide where voxels lie.

    Attributes:
        sizes: Voxels along each of the image's axes (1 to 7 of them).
        pixdim: The first four numbers: the sign of the quaternion's third axis, and the spacing along the first three
            axes in the header's own unit.
        unit: Code of that unit.
        qform: Quaternion (b, c, d) and offset (x, y, z), or None where the header has none.
        sform: (3, 4) affine from voxel index to space, or None where the header has none.
        as_nifti1: The header as NIfTI-1, where the file is NIfTI-2.
    """

    sizes: tuple[int, ...]
    pixdim: tuple[float, float, float, float]
    unit: int
    qform: tuple[float, ...] | None
    sform: npt.NDArray[np.float64] | None
    as_nifti1: bytes | None = None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Along the first three axes, in the header's own unit."""
        return self.pixdim[1:]

    @classmethod
    def parse(cls, raw: bytes, order: str) -> NiftiHeader:
        """From a NIfTI-1 header's bytes; `order` is '<' or '>', as `struct` has it."""
        dims = struct.unpack_from(f"{order}8h", raw, 40)
        sign, a, b, c = struct.unpack_from(f"{order}4f", raw, 76)
        has_qform, has_sform = struct.unpack_from(f"{order}2h", raw, 252)
        qform = struct.unpack_from(f"{order}6f", raw, 256) if has_qform > 0 else None
        sform = np.array(struct.unpack_from(f"{order}12f", raw, 280)).reshape(3, 4) if has_sform > 0 else None
        n_axes = dims[0] if 1 <= dims[0] <= 7 else 0
        return cls(dims[1 : 1 + n_axes], (sign, a, b, c), raw[123] & 7, qform, sform)


def check_nifti_header(path: Path) -> NiftiHeader:
    """The header of a NIfTI file. Refused is a `.nii` or `.nii.gz` file whose header is neither NIfTI-1 nor NIfTI-2, or
    cannot be trusted with a position in mm.

    Raises:
        InputError: Saying which field is wrong; nothing is printed by ITK's libraries for such a file.
    """
    raw = _header_bytes(path)
    lengths = {struct.unpack_from(f"{order}i", raw)[0]: order for order in "<>"}
    if HEADER_BYTES not in lengths and nifti2.HEADER_BYTES not in lengths:
        raise _no_nifti(path, "no NIfTI header")
    is_nifti2 = HEADER_BYTES not in lengths
    order = lengths[nifti2.HEADER_BYTES if is_nifti2 else HEADER_BYTES]
    if is_nifti2:
        raw = _as_nifti1(path, raw, order)
    if raw[344:348] != b"n+1\0":
        raise _no_nifti(path, f"no NIfTI header: its mark is {raw[344:348]!r}, not b'n+1\\x00'")
    header = NiftiHeader.parse(raw, order)
    if not header.sizes or min(header.sizes) < 1:
        raise _no_nifti(path, f"its header gives the sizes {header.sizes}")
    _check_spacing_fields(path, header)
    return replace(header, as_nifti1=raw) if is_nifti2 else header


def is_byte_mask(path: Path) -> bool:
    """Whether a file is NIfTI-1 with a byte a voxel, as masks are written; a CT is none."""
    try:
        raw = _header_bytes(path)
    except InputError:
        return False
    return any(struct.unpack_from(f"{order}h", raw, DATATYPE_AT)[0] == BYTE for order in "<>")


def _as_nifti1(path: Path, raw: bytes, order: str) -> bytes:
    if len(raw) < nifti2.HEADER_BYTES:
        raise _no_nifti(path, f"no NIfTI header: it ends after {len(raw)} bytes")
    try:
        return nifti2.nifti1_header(raw, order)
    except ValueError as error:
        raise _no_nifti(path, str(error)) from error


def _check_spacing_fields(path: Path, header: NiftiHeader) -> None:
    shown = " x ".join(f"{s:g}" for s in header.spacing)
    axes = min(3, len(header.sizes))
    if not all(np.isfinite(s) and s > 0 for s in header.spacing[:axes]):
        raise InputError(path, f"its header gives the spacing {shown}", "positive numbers in mm", "export it again")
    for form in (header.qform, header.sform):
        if form is not None and not np.isfinite(form).all():
            raise InputError(path, "its header's orientation is NaN or infinite", "finite numbers", "export it again")
    if header.sform is None:
        return
    steps = np.linalg.norm(header.sform[:, :axes], axis=0)
    if _is_sheared(header.sform[:, :axes], steps):
        return  # a tilted gantry's steps are longer than its slices lie apart: judged where directions are
    if np.any(np.abs(steps - header.spacing[:axes]) > SPACING_AGREEMENT * np.asarray(header.spacing[:axes])):
        raise InputError(
            path,
            f"its header gives two spacings: {shown} (pixdim) and {' x '.join(f'{s:g}' for s in steps)} (sform)",
            "one spacing",
            "find out which is right, and save it with that one",
        )


def _is_sheared(columns: npt.NDArray[np.float64], steps: npt.NDArray[np.float64]) -> bool:
    """Whether the axes of an affine are not at right angles; one of length 0 is no axis at all, and no shear."""
    if (steps == 0).any():
        return False
    cosines = (columns / steps).T @ (columns / steps)
    return bool(np.abs(cosines - np.eye(len(steps))).max() > SHEAR)


def _header_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(PACKED_BYTES)
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or error})", READABLE, "check the file") from error
    if not raw:
        raise _no_nifti(path, "it is empty")
    packed = path.name.lower().endswith(".gz")
    if packed != raw.startswith(GZIP_MAGIC):
        if packed:
            raise InputError(path, "cannot be read (not gzip)", "a gzip file by its name", AGAIN)
        raise InputError(path, "cannot be read (gzip)", "an unpacked file by its name", "name it .nii.gz")
    if packed:
        try:
            raw = zlib.decompressobj(GZIP_STREAM).decompress(raw, nifti2.HEADER_BYTES)
        except zlib.error as error:
            raise _no_nifti(path, "damaged gzip") from error
    if len(raw) < HEADER_BYTES:
        raise _no_nifti(path, f"no NIfTI header: it ends after {len(raw)} bytes")
    return raw[: nifti2.HEADER_BYTES]


def _no_nifti(path: Path, reason: str) -> InputError:
    return InputError(path, f"cannot be read ({reason})", READABLE, AGAIN)
