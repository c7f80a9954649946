"""Surfaces of a case's kidneys and tumours, as files: what `--mesh` writes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.choices import MESH_FORMS, MESH_SPACES, MeshForm, MeshSpace
from bisc.core.geometry import Geometry
from bisc.measurement.mesh import mesh_of
from bisc.preprocessing.segments import Segment
from bisc.report.mesh_files import Part, glb_bytes, mtl_bytes, obj_bytes, stl_bytes
from bisc.system.files import make_folder, write_bytes

OURS: Final = re.compile(
    rf"_(meshes(_({'|'.join(MESH_SPACES)}))?\.(glb|obj|mtl)"
    rf"|((right|left)_)?kidney_({'|'.join(MESH_SPACES)})\.stl"
    rf"|tumor_\d+(_(right|left))?_({'|'.join(MESH_SPACES)})\.stl)$"
)
"""What follows a case's name in the files that this page writes, whatever was found and asked for."""


def write_meshes(
    out: Path,
    case: str,
    numbered: npt.NDArray[np.uint8],
    segments: Sequence[Segment],
    grid: Geometry,
    form: MeshForm,
    space: MeshSpace = "LPS",
) -> list[Path]:
    """Write the surface of each kidney and tumour; a case's older meshes, of whatever form, go first.

    Args:
        out: The folder.
        case: The case's name, with which the files' names begin.
        numbered: (z, y, x) segment numbers, as `bisc.preprocessing.segments.divide` gives them.
        segments: Likewise.
        grid: The grid of `numbered`.
        form: 'stl': a file each; 'obj': all in one, and its colours; 'glb': all in one.
        space: Of STL and OBJ; a GLB has glTF's own.

    Returns:
        The files, none where there is no segment.

    Raises:
        InputError: If a file cannot be written.
        WorkError: If a surface is not closed.
        ValueError: If form or space is another.

    Example:
        >>> numbered, segments = divide(labels, grid, min_kidney_ml=5.0)
        >>> write_meshes(Path("out"), "case", numbered, segments, grid, "glb")
    """
    if form not in MESH_FORMS or space not in MESH_SPACES:
        raise ValueError(f"{form!r}, {space!r}: one of {MESH_FORMS}, and of {MESH_SPACES}")
    parts = [Part(one.name, one.organ, mesh_of(numbered == one.number, grid)) for one in segments]
    remove_meshes(make_folder(out), case)
    files = mesh_files(out, case, [one.name for one in segments], form, space)
    if not parts:
        return files
    if form == "stl":
        contents = [stl_bytes(part, space) for part in parts]
    elif form == "obj":
        contents = [mtl_bytes(), obj_bytes(parts, space, files[0].name)]
    else:
        contents = [glb_bytes(parts)]
    for path, content in zip(files, contents, strict=True):
        write_bytes(path, content)
    return files


def mesh_files(out: Path, case: str, names: Iterable[str], form: MeshForm, space: MeshSpace) -> list[Path]:
    """The files that a case with segments of these names has; none without a segment."""
    names = list(names)
    if not names:
        return []
    if form == "stl":
        return [out / f"{case}_{_plain(name)}_{space}.stl" for name in names]
    whole = f"{case}_meshes" if form == "glb" else f"{case}_meshes_{space}"
    return [out / f"{whole}.{suffix}" for suffix in (("mtl", "obj") if form == "obj" else (form,))]


def remove_meshes(out: Path, case: str) -> None:
    """Remove a case's meshes: an older run's, beside another mask, would be taken for its own."""
    for path in out.iterdir():
        if path.name.startswith(case) and OURS.fullmatch(path.name.removeprefix(case)):
            path.unlink(missing_ok=True)


def meshes_in(out: Path) -> list[Path]:
    """All cases' meshes, of any form."""
    return [path for path in out.iterdir() if OURS.search(path.name)]


def case_of(mesh: Path) -> str:
    """Whose it is."""
    return OURS.sub("", mesh.name)


def _plain(name: str) -> str:
    """'tumor_1_left' of 'Tumour 1 (left)': no blanks or brackets in a file's name."""
    return "_".join(re.findall(r"[a-z0-9]+", name.lower().replace("tumour", "tumor")))
