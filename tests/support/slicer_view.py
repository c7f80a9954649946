"""Run in a process of its own: what 3D Slicer's own libraries make of a series and of masks, as arrays and a picture.

    python slicer_view.py SERIES OUT MASK ... [--meta META.json] [--picture MM]

Writes OUT/volume.npy and OUT/ijk_to_ras.npy of the series, OUT/MASK.npy of each mask file, all its segments put on the
series' voxels (k, j, i), and with --picture OUT/slicer.png: the axial slice at that height, and all from in front.
META.json is dcmqi's, by which segments get their names and colours, as Slicer's extension QuantitativeReporting does.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from slicer import vtkSlicerSegmentationsModuleLogic
from trame_slicer.core import SlicerApp
from trame_slicer.views import SliceView, ThreeDView
from trame_slicer.views.render_scheduler import DirectRendering
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonMath import vtkMatrix4x4
from vtkmodules.vtkRenderingCore import vtkWindowToImageFilter

SIDE = 640


def array_of(volume: Any) -> Any:
    image = volume.GetImageData()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def drawn(view: Any) -> Any:
    view.render()
    grab = vtkWindowToImageFilter()
    grab.SetInput(view.render_window())
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3]


def view_of(app: Any, kind: Any, tag: str) -> Any:
    view = kind(app.scene, app.app_logic, tag, scheduled_render_strategy=DirectRendering())
    view.render_window().SetOffScreenRendering(True)
    view.render_window().SetSize(SIDE, SIDE)
    return view


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("series", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("masks", type=Path, nargs="+")
    parser.add_argument("--meta", type=Path)
    parser.add_argument("--picture", type=float)
    args = parser.parse_args()
    app = SlicerApp()
    (volume,) = app.io_manager.load_volumes([str(path) for path in sorted(args.series.iterdir())])
    np.save(args.out / "volume.npy", array_of(volume))
    matrix = vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    np.save(args.out / "ijk_to_ras.npy", [[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
    meta = json.loads(args.meta.read_text()) if args.meta else {"segmentAttributes": []}
    told = {segment["labelID"]: segment for file in meta["segmentAttributes"] for segment in file}
    nodes = []
    for number, path in enumerate(args.masks, 1):
        node = app.io_manager.load_segmentation(str(path))
        node.GetDisplayNode().SetVisibility(False)
        on_series = app.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        names = [node.GetSegmentation().GetNthSegmentID(i) for i in range(node.GetSegmentation().GetNumberOfSegments())]
        assert vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(node, names, on_series, volume)
        np.save(args.out / f"{path.name}.npy", array_of(on_series))
        if number in told:
            node.GetSegmentation().GetNthSegment(0).SetName(told[number]["SegmentLabel"])
            red, green, blue = (v / 255 for v in told[number]["recommendedDisplayRGBValue"])
            node.GetSegmentation().GetNthSegment(0).SetColor(red, green, blue)
        elif told:
            continue  # a second mask of the same: not drawn over the first
        nodes.append(node)
    if args.picture is not None:
        from PIL import Image

        axial = view_of(app, SliceView, "Red")
        axial.set_orientation("Axial")
        axial.set_background_volume_id(volume.GetID())
        volume.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
        volume.GetDisplayNode().SetAutoWindowLevel(False)
        volume.GetDisplayNode().SetWindowLevel(400, 60)
        axial.fit_view_to_content()
        axial.set_slice_value(args.picture)
        space = view_of(app, ThreeDView, "1")
        for node in nodes:
            node.CreateDefaultDisplayNodes()
            node.GetDisplayNode().SetVisibility(True)
            node.CreateClosedSurfaceRepresentation()
        space.reset_camera()
        Image.fromarray(np.hstack([drawn(axial), drawn(space)])).save(args.out / "slicer.png")


if __name__ == "__main__":
    main()
