"""Sound NRRD and MetaImage files of 4 x 5 x 6 voxels, and changes to their headers."""

from __future__ import annotations

from pathlib import Path

META = """ObjectType = Image
NDims = 3
DimSize = 6 5 4
ElementType = MET_SHORT
ElementSpacing = 2 3 4
TransformMatrix = 1 0 0 0 1 0 0 0 1
"""
NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 6 5 4
space directions: (2,0,0) (0,3,0) (0,0,4)
endian: little
encoding: raw
"""


def write_meta(folder: Path, old: str = "", new: str = "") -> Path:
    path = folder / "scan.mha"
    path.write_bytes(f"{META.replace(old, new)}ElementDataFile = LOCAL\n".encode() + bytes(240))
    return path


def write_nrrd(folder: Path, old: str = "", new: str = "") -> Path:
    path = folder / "scan.nrrd"
    path.write_bytes(f"{NRRD.replace(old, new)}\n".encode() + bytes(240))
    return path
