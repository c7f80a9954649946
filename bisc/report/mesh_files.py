"""Meshes as the bytes of files: STL for printers, OBJ and GLB for viewers. Space and unit stand in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import trimesh
from matplotlib.colors import to_rgb
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.stl import export_stl
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from bisc._version import __version__
from bisc.core.choices import MeshSpace
from bisc.preprocessing.segments import Organ
from bisc.report.style import KIDNEY_COLOUR, TUMOR_COLOUR

HEADER_BYTES: Final = 80
FROM_LPS: Final[Mapping[MeshSpace, tuple[int, int, int]]] = {"LPS": (1, 1, 1), "RAS": (-1, -1, 1)}
LPS_MM_TO_GLTF: Final = ((0.001, 0.0, 0.0), (0.0, 0.0, 0.001), (0.0, -0.001, 0.0))
"""glTF 2.0, section 3.4: metres, y up, z to the front, so x is the patient's left, y the head, z the front."""
COLOURS: Final[Mapping[Organ, str]] = {"kidney": KIDNEY_COLOUR, "tumor": TUMOR_COLOUR}
OPACITIES: Final[Mapping[Organ, float]] = {"kidney": 0.45, "tumor": 1.0}
MTL_OF: Final[Mapping[Organ, str]] = {"kidney": "kidney", "tumor": "tumour"}


@dataclass(frozen=True, eq=False)
class Part:
    """One kidney or tumour.

    Attributes:
        name: For people: 'Tumour 1 (left)'.
        organ: Which colour it has.
        mesh: In LPS mm.
    """

    name: str
    organ: Organ
    mesh: trimesh.Trimesh


def stl_bytes(part: Part, space: MeshSpace) -> bytes:
    """A binary STL in mm. The format has no place for unit and space but its header's 80 bytes; 3D Slicer reads the
    space there."""
    turned = part.mesh.copy()
    turned.vertices = _in_space(part, space)
    header = f"BiSC-UNet {__version__}: {part.name}. SPACE={space} UNIT=mm".encode("ascii")
    return header[:HEADER_BYTES].ljust(HEADER_BYTES) + bytes(export_stl(turned))[HEADER_BYTES:]


def obj_bytes(parts: Sequence[Part], space: MeshSpace, mtl_name: str) -> bytes:
    """An OBJ in mm, an object a part, its colours in a file beside it (`mtl_bytes`)."""
    lines = [f"# BiSC-UNet {__version__}. SPACE={space} UNIT=mm", f"mtllib {mtl_name}"]
    first = 1  # vertices are counted on from object to object
    for part in parts:
        vertices, normals = _in_space(part, space), part.mesh.vertex_normals * FROM_LPS[space]
        lines += [f"o {part.name}", f"usemtl {MTL_OF[part.organ]}"]
        lines += [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in vertices.tolist()]
        lines += [f"vn {x:.4f} {y:.4f} {z:.4f}" for x, y, z in normals.tolist()]
        lines += [f"f {a}//{a} {b}//{b} {c}//{c}" for a, b, c in (part.mesh.faces + first).tolist()]
        first += len(vertices)
    return ("\n".join(lines) + "\n").encode("utf-8")


def mtl_bytes() -> bytes:
    """The colours that an OBJ names."""
    lines = []
    for organ, name in MTL_OF.items():
        colour = " ".join(f"{share:.4f}" for share in to_rgb(COLOURS[organ]))
        lines += [f"newmtl {name}", f"Ka {colour}", f"Kd {colour}", "Ks 0.2 0.2 0.2", "Ns 30", f"d {OPACITIES[organ]}"]
    return ("\n".join(lines) + "\n").encode("utf-8")


def glb_bytes(parts: Sequence[Part]) -> bytes:
    """A GLB in glTF's own space and unit, a named node a part; kidneys are translucent."""
    scene = trimesh.Scene()
    matrix = np.asarray(LPS_MM_TO_GLTF)
    for part in parts:
        vertices = np.asarray(part.mesh.vertices) @ matrix.T
        material = PBRMaterial(
            name=part.name,
            baseColorFactor=[*_linear(COLOURS[part.organ]), OPACITIES[part.organ]],
            alphaMode="BLEND" if OPACITIES[part.organ] < 1 else "OPAQUE",
            metallicFactor=0.0,
            roughnessFactor=0.6,
        )
        mesh = trimesh.Trimesh(vertices, part.mesh.faces, process=False, visual=TextureVisuals(material=material))
        scene.add_geometry(mesh, node_name=part.name, geom_name=part.name)

    def tell(tree: dict[str, Any]) -> None:
        to_gltf = [*(number for row in LPS_MM_TO_GLTF for number in (*row, 0.0)), 0.0, 0.0, 0.0, 1.0]
        tree["asset"]["extras"] = {
            "space": "x left, y superior, z anterior",
            "unit": "m",
            "from_LPS_mm_row_major": to_gltf,
        }

    return bytes(export_glb(scene, include_normals=True, tree_postprocessor=tell))


def _in_space(part: Part, space: MeshSpace) -> npt.NDArray[np.float64]:
    """Vertices; two axes turn, so that faces stay counter-clockwise."""
    return np.asarray(part.mesh.vertices) * FROM_LPS[space]


def _linear(colour: str) -> list[float]:
    """A colour of a screen as glTF has it, without the screen's gamma (sRGB, IEC 61966-2-1)."""
    shares = np.asarray(to_rgb(colour))
    return [float(v) for v in np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)]
