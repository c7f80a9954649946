"""From a label map in patient coordinates to a noisy CT image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.labels import TUMOR
from bisc.simulation.artefacts import add_streaks, paint_clothing
from bisc.simulation.bowel import paint_bowel, paint_colon
from bisc.simulation.chest import paint_chest
from bisc.simulation.finds import paint_ascites, paint_finds
from bisc.simulation.frame import Field, Frame, Slices, Upsampler
from bisc.simulation.hips import paint_hips
from bisc.simulation.organs import paint_organs
from bisc.simulation.patient import Patient, stream
from bisc.simulation.pelvic_organs import paint_pelvic_organs
from bisc.simulation.pelvis import paint_pelvis
from bisc.simulation.scanner import HU_HIGH, HU_LOW, NoiseSource, noise_level
from bisc.simulation.scene import Scene
from bisc.simulation.shapes import Canvas
from bisc.simulation.tint import Tint
from bisc.simulation.tissue import Tissue, make_tissue
from bisc.simulation.trunk import paint_trunk
from bisc.simulation.vessels import paint_vessels

WORKING_MM = (2.5, 1.45, 1.45)
"""The anatomy around the labels is painted no finer than this (z, y, x) and upsampled."""

REACH_MM, REACH_PIXELS = 2.0, 1.2
"""Blur by which the distance to a label's outline is told, the larger of the two; it tells up to 1.25 times as far."""
SHARPEN_MM = 1.2
"""Reach of a sharp kernel's overshoot."""


def render(
    patient: Patient, labels: npt.NDArray[np.uint8], frame: Frame, seed: int, index: int, *, scattered: bool
) -> npt.NDArray[np.int16]:
    """Simulate the scan of a patient with these labels.

    Args:
        patient: Tissues and scanner.
        labels: (z, y, x) 0/1/2, cysts 3.
        frame: Its voxels in the patient frame.
        seed, index: Name the random streams.
        scattered: The label map knows of no cysts: some are put into kidneys.

    Returns:
        (z, y, x) HU.
    """
    coarse = frame.coarser(WORKING_MM)
    small = labels[np.ix_(*frame.nearest(coarse))]
    tint = Tint.drawn(coarse, stream(seed, index, "tint")) if patient.tinted else None
    scene = Scene.prepare(patient, small, coarse, stream(seed, index, "body"), tint)
    inner, lesions = stream(seed, index, "tissue"), stream(seed, index, "lesions")
    tissue = make_tissue(patient, small, coarse, inner, lesions, scattered)
    _paint(scene, tissue, seed, index)
    if tissue is not None:
        Canvas(scene.canvas.hu, coarse).cut(tissue.box).blend(tissue.sinus, tissue.sinus_hu)
    add_streaks(scene, stream(seed, index, "artefacts"))
    _blur(scene.canvas.hu, coarse, patient.scanner.blur_mm, patient.scanner.slice_mix)
    noise = NoiseSource(patient.scanner, frame.shape_zyx, frame.spacing_mm_zyx, stream(seed, index, "noise"))
    return _develop(scene, tissue, labels, frame, noise)


def _paint(scene: Scene, tissue: Tissue | None, seed: int, index: int) -> None:
    """Everything around the labels, what lies on top last."""
    lower, finds = stream(seed, index, "pelvis"), stream(seed, index, "finds")
    paint_clothing(scene, finds)
    paint_trunk(scene)
    paint_hips(scene, lower)
    paint_pelvis(scene, lower)
    paint_ascites(scene, finds)
    paint_bowel(scene)
    paint_colon(scene)
    paint_organs(scene)
    paint_pelvic_organs(scene, lower)
    paint_vessels(scene, tissue)
    paint_chest(scene, stream(seed, index, "chest"))
    paint_finds(scene, finds)


def _blur(hu: Field, frame: Frame, blur_mm: float, mix: float) -> None:
    """The point spread function in plane, and a little of the neighbouring slices' tissue, in place."""
    for axis, sigma in zip((0, 1, 2), (mix, *(blur_mm / s for s in frame.spacing_mm_zyx[1:])), strict=True):
        ndimage.gaussian_filter1d(hu, sigma, axis=axis, output=hu, truncate=3.0)


def _develop(
    scene: Scene, tissue: Tissue | None, labels: npt.NDArray[np.uint8], frame: Frame, noise: NoiseSource
) -> npt.NDArray[np.int16]:
    """Slice by slice on the final grid: surroundings, labelled tissue with soft edges, noise."""
    scanner = scene.patient.scanner
    up = Upsampler(scene.canvas.frame, frame)
    inner = None if tissue is None else _Inner(tissue, scene.canvas.frame, labels, frame, scanner.blur_mm)
    image = np.empty(frame.shape_zyx, np.int16)
    level = noise_level(scene.skin_mm, 0.75 * scene.patient.front_mm, scanner.noise_hu)
    soft = [SHARPEN_MM / s for s in frame.spacing_mm_zyx[1:]]
    padded = outside_circle(frame) if scanner.has_circle else None
    for k in range(frame.z.size):
        plane = np.array(up.slice(scene.canvas.hu, k))
        if inner is not None:
            inner.overlay(plane, k)
        if scanner.sharpen:
            plane += scanner.sharpen * (plane - ndimage.gaussian_filter(plane, soft, truncate=2.5))
        plane += noise.next_slice() * up.slice(level, k)
        image[k] = np.clip(np.rint(plane), HU_LOW, HU_HIGH)
        if padded is not None:
            image[k][padded] = HU_LOW
    return image


def outside_circle(frame: Frame) -> npt.NDArray[np.bool_]:
    """The corners (y, x) beyond the round field that is reconstructed."""
    y, x = (axis - (axis[0] + axis[-1]) / 2 for axis in frame.axes[1:])
    return np.asarray(np.hypot(y[:, None], x[None, :]) > max(y[-1], x[-1]) + max(frame.spacing_mm_zyx[1:]))


class _Inner:
    """Lays kidneys and tumours over a slice with the label map's own sharp outline, softened by the scanner."""

    def __init__(
        self, tissue: Tissue, coarse: Frame, labels: npt.NDArray[np.uint8], frame: Frame, blur_mm: float
    ) -> None:
        part = coarse.cut(tissue.box)
        low = [a[0] - s / 2 for a, s in zip(part.axes, part.spacing_mm_zyx, strict=True)]
        high = [a[-1] + s / 2 for a, s in zip(part.axes, part.spacing_mm_zyx, strict=True)]
        cut = frame.slices(low, high)
        if cut is None:
            raise ValueError("the labelled box lies outside the grid")
        self._cut: Slices = cut
        self._up = Upsampler(part, frame.cut(cut))
        self._tissue, self._labels = tissue, labels[cut]
        self._pixel = frame.spacing_mm_zyx[1:]
        self._sigma = [max(blur_mm / s, 0.35) for s in self._pixel]

    def overlay(self, plane: Field, k: int) -> None:
        """Change the (y, x) slice `k` in place."""
        rows, columns = self._cut[1:]
        k -= self._cut[0].start
        if not 0 <= k < self._labels.shape[0]:
            return
        labels = self._mixed(k)
        if labels is None:
            return
        organ, tumor = (ndimage.gaussian_filter(mask, self._sigma, truncate=3.0) for mask in labels)
        part = plane[rows, columns]
        inside = self._up.slice(self._tissue.kidney, k)
        share = tumor / np.maximum(organ, np.float32(1e-3))
        inside = inside + share * (self._up.slice(self._tissue.tumor, k) - inside)
        part += self._within(labels[0], self._up.slice(self._tissue.loose_mm, k)) * (inside - part)

    def _within(self, organ: Field, loose_mm: Field) -> Field:
        """Coverage by an organ whose surface lies `loose_mm` within its label's outline, as persons draw it, blurred.

        The distance to the outline is read off the label's own blur, which is a Gaussian's integral across an edge.
        """
        reach_mm = max(REACH_MM, REACH_PIXELS * max(self._pixel))
        wide = ndimage.gaussian_filter(organ, [reach_mm / s for s in self._pixel], truncate=3.0)
        within_mm = (wide - np.float32(0.5)) * np.float32(reach_mm * np.sqrt(2 * np.pi))
        hard = np.clip((within_mm - loose_mm) / np.float32(max(self._pixel)) + np.float32(0.5), 0, 1)
        return np.asarray(ndimage.gaussian_filter(hard * (organ > 0), self._sigma, truncate=3.0))

    def _mixed(self, k: int) -> tuple[Field, Field] | None:
        """Kidney-or-tumour and tumour, mixed with the neighbouring slices."""
        near = self._labels[max(k - 1, 0) : k + 2]
        if not near.any():
            return None
        weights = np.array([0.07, 0.86, 0.07], np.float32)[1 if k == 0 else 0 :][: len(near)]
        weights = weights / weights.sum()
        organ, tumor = (
            np.asarray(sum(w * m.astype(np.float32) for w, m in zip(weights, mask, strict=True)), np.float32)
            for mask in (near > 0, near == TUMOR)
        )
        return organ, tumor
