"""Mesh files are read by others as they were meant: place, unit, side, colours."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

from bisc.core.choices import MESH_SPACES, MeshSpace
from bisc.measurement.mesh import mesh_of
from bisc.report.mesh_files import Part, glb_bytes, mtl_bytes, obj_bytes, stl_bytes
from tests.support.grids import grid

TO_RAS = (-1.0, -1.0, 1.0)
NEAR_MM = 1e-3


def wedge(name: str = "Right kidney", x_mm: float = 20.0) -> Part:
    """Alike in no mirror: thick at the left, behind and above; at LPS x from `x_mm` on, y -40, z 500."""
    mask = np.zeros((8, 20, 20), dtype=bool)
    for k in range(8):
        mask[k, : 8 + k, : 12 + k] = True
    mask[:, 4:, 12:] = False
    on = grid(mask.shape, (2.0, 1.0, 1.0), (x_mm, -40.0, 500.0))
    return Part(name, "tumor" if name.startswith("T") else "kidney", mesh_of(mask, on))


PARTS = [wedge(), wedge("Tumour 1 (right)", 60.0)]


def bounds_of(parts: list[Part]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    points = np.concatenate([np.asarray(part.mesh.vertices) for part in parts])
    return np.stack([points.min(axis=0), points.max(axis=0)])


def in_space(bounds: np.ndarray[tuple[int, ...], np.dtype[np.float64]], space: MeshSpace) -> object:
    return np.sort(bounds * TO_RAS, axis=0) if space == "RAS" else bounds


@pytest.mark.parametrize("space", MESH_SPACES)
def test_stl_is_read_back(space: MeshSpace) -> None:
    """Closed, turned outwards, its centre at the patient's left (LPS x > 0, RAS x < 0) and front."""
    part = PARTS[0]
    data = stl_bytes(part, space)
    assert f"SPACE={space} UNIT=mm".encode() in data[:80]
    assert not data.startswith(b"solid")
    read = trimesh.load(io.BytesIO(data), file_type="stl")
    assert read.is_watertight
    assert read.volume == pytest.approx(part.mesh.volume, rel=1e-4)
    assert np.abs(read.bounds - in_space(bounds_of([part]), space)).max() < NEAR_MM
    sign = 1 if space == "LPS" else -1
    assert np.sign(read.center_mass).tolist() == [sign, -sign, 1]
    assert data == stl_bytes(wedge(), space)


@pytest.mark.parametrize("space", MESH_SPACES)
def test_obj_is_read_back(space: MeshSpace, tmp_path: Path) -> None:
    (tmp_path / "a.mtl").write_bytes(mtl_bytes())
    (tmp_path / "a.obj").write_bytes(obj_bytes(PARTS, space, "a.mtl"))
    assert f"SPACE={space} UNIT=mm" in (tmp_path / "a.obj").read_text().splitlines()[0]
    scene = trimesh.load_scene(tmp_path / "a.obj", split_object=True, group_material=False)
    assert len(scene.geometry) == 2
    assert np.abs(scene.bounds - in_space(bounds_of(PARTS), space)).max() < NEAR_MM
    volumes = sorted(float(mesh.volume) for mesh in scene.geometry.values())
    assert volumes == pytest.approx(sorted(float(part.mesh.volume) for part in PARTS), rel=1e-4)
    colours = {tuple(mesh.visual.material.diffuse[:3].tolist()) for mesh in scene.geometry.values()}
    assert colours == {(86, 180, 233), (255, 176, 0)}


def test_glb_is_read_back() -> None:
    """Metres; the patient's left at +x, head at +y, front at +z; nodes by name; kidneys let the tumour be seen."""
    data = glb_bytes(PARTS)
    scene = trimesh.load_scene(io.BytesIO(data), file_type="glb")
    assert set(scene.graph.nodes_geometry) == {"Right kidney", "Tumour 1 (right)"}
    (x0, y0, z0), (x1, y1, z1) = bounds_of(PARTS) / 1000
    assert np.abs(scene.bounds - [(x0, z0, -y1), (x1, z1, -y0)]).max() < NEAR_MM / 1000
    for part in PARTS:
        assert scene.geometry[part.name].volume == pytest.approx(part.mesh.volume / 1e9, rel=1e-4)
    (length,) = struct.unpack("<I", data[12:16])
    tree = json.loads(data[20 : 20 + length])
    extras = tree["asset"]["extras"]
    assert extras["unit"] == "m"
    back = np.reshape(extras["from_LPS_mm_row_major"], (4, 4)) @ (10.0, 20.0, 30.0, 1.0)
    assert back == pytest.approx([0.010, 0.030, -0.020, 1.0])
    modes = {material["name"]: material["alphaMode"] for material in tree["materials"]}
    assert modes == {"Right kidney": "BLEND", "Tumour 1 (right)": "OPAQUE"}
    assert data == glb_bytes([wedge(), wedge("Tumour 1 (right)", 60.0)])


def test_vtk_reads_the_same_box(tmp_path: Path) -> None:
    """VTK's own readers, in a process of their own: theirs are the libraries of most viewers."""
    pytest.importorskip("vtkmodules", reason="no VTK: pip install vtk")
    (tmp_path / "a.stl").write_bytes(stl_bytes(PARTS[0], "RAS"))
    (tmp_path / "a.mtl").write_bytes(mtl_bytes())
    (tmp_path / "a.obj").write_bytes(obj_bytes(PARTS, "LPS", "a.mtl"))
    (tmp_path / "a.glb").write_bytes(glb_bytes(PARTS))
    script = (
        "import sys, json\n"
        "from vtkmodules.vtkIOGeometry import vtkGLTFReader, vtkOBJReader, vtkSTLReader\n"
        "from vtkmodules.vtkCommonDataModel import vtkBoundingBox\n"
        "found = []\n"
        "for name, make in (('a.stl', vtkSTLReader), ('a.obj', vtkOBJReader), ('a.glb', vtkGLTFReader)):\n"
        "    reader = make(); reader.SetFileName(sys.argv[1] + '/' + name); reader.Update()\n"
        "    b = [0.0] * 6; reader.GetOutputDataObject(0).GetBounds(b); found.append(b)\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    stl, obj, glb = (np.reshape(box, (3, 2)).T for box in json.loads(done.stdout.splitlines()[-1]))
    assert np.abs(stl - in_space(bounds_of(PARTS[:1]), "RAS")).max() < NEAR_MM
    assert np.abs(obj - bounds_of(PARTS)).max() < NEAR_MM
    (x0, y0, z0), (x1, y1, z1) = bounds_of(PARTS) / 1000
    assert np.abs(glb - [(x0, z0, -y1), (x1, z1, -y0)]).max() < NEAR_MM / 1000


@pytest.mark.long
@pytest.mark.parametrize("form", ["stl", "obj"])
def test_slicer_puts_both_spaces_in_one_place(tmp_path: Path, form: str) -> None:
    """3D Slicer's own storage reads the space from the file; its scene is in RAS."""
    pytest.importorskip("slicer", reason="no Slicer: pip install trame-slicer[standalone]")
    for space in MESH_SPACES:
        data = stl_bytes(PARTS[0], space) if form == "stl" else obj_bytes(PARTS[:1], space, "a.mtl")
        (tmp_path / f"{space}.{form}").write_bytes(data)
    script = (
        "import sys, json\n"
        "from trame_slicer.core import SlicerApp\n"
        "from slicer import vtkMRMLModelNode, vtkMRMLModelStorageNode\n"
        "app = SlicerApp(); found = []\n"
        "for path in sys.argv[1:]:\n"
        "    node = app.scene.AddNode(vtkMRMLModelNode()); store = app.scene.AddNode(vtkMRMLModelStorageNode())\n"
        "    store.SetFileName(path); assert store.ReadData(node)\n"
        "    b = [0.0] * 6; node.GetRASBounds(b); found.append(b)\n"
        "print(json.dumps(found))\n"
    )
    paths = [tmp_path / f"{space}.{form}" for space in MESH_SPACES]
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True)
    for box in json.loads(done.stdout.splitlines()[-1]):
        assert np.abs(np.reshape(box, (3, 2)).T - in_space(bounds_of(PARTS[:1]), "RAS")).max() < NEAR_MM
