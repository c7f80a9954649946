"""The slices that are compared: real ones read in place, simulated ones stored as the real ones were."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image as Picture

from bisc.simulation import Variety, simulate_case

Image = npt.NDArray[np.float64]
Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

SIZE_XYZ: Final = (512, 512, 64)
SLICES_PER_CASE: Final = 3
JPEG_QUALITY: Final = (75, 96)
"""Real slices that passed through JPEG have the block edges and near-zero grey of these qualities (mean about 85)."""


@dataclass(frozen=True)
class Slice:
    """One axial slice: (y, x) HU clipped to 0..255, labels 0/1/2 on the same grid, whose it is, how it was kept.

    `spacing_mm_yx` is None where it was not published; `index` is the slice's of a simulated volume.
    """

    hu: Image
    labels: Labels
    patient: str
    lossy: bool = False
    spacing_mm_yx: tuple[float, float] | None = None
    index: int | None = None


@dataclass(frozen=True)
class Case:
    """A simulated patient's whole volume (z, y, x), for pictures."""

    hu: Image
    labels: Labels
    spacing_mm_zyx: tuple[float, float, float]


def by_patient(slices: Iterable[Slice]) -> dict[str, list[Slice]]:
    """Slices of each patient, patients in the order met."""
    out: dict[str, list[Slice]] = {}
    for s in slices:
        out.setdefault(s.patient, []).append(s)
    return out


def read_real(folder: Path) -> list[Slice]:
    """The real slices of either published layout.

    With `labels/` and `meta.csv` (grey 0/1/2, JPEG noted); or with `masks/` (blue kidney, red tumour; file 1CCCC_K is
    case CCCC + 99).

    Raises:
        FileNotFoundError: Neither layout is there.
    """
    if (folder / "meta.csv").is_file():
        with (folder / "meta.csv").open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        return [
            Slice(
                _grey(folder / "images" / f"{row['name']}.png"),
                np.asarray(Picture.open(folder / "labels" / f"{row['name']}.png"), np.uint8),
                patient=f"case_{int(row['case']):05d}",
                lossy=row["ext"] == "jpg",
                spacing_mm_yx=(float(row["dy"]), float(row["dx"])),
            )
            for row in rows
        ]
    if not (folder / "masks").is_dir():
        raise FileNotFoundError(f"{folder} has neither meta.csv with labels/ nor masks/: give a folder of real slices")
    out = []
    for path in sorted((folder / "images").glob("*.png")):
        colours = np.asarray(Picture.open(folder / "masks" / path.name))
        labels = np.where(colours[..., 0] > 127, 2, np.where(colours[..., 2] > 127, 1, 0)).astype(np.uint8)
        out.append(Slice(_grey(path), labels, patient=f"case_{int(path.stem[1:5]) + 99:05d}"))
    return out


def simulate(n: int, seed: int, lossy_share: float, variety: Variety = "kits") -> Iterator[tuple[list[Slice], Case]]:
    """Each of `n` patients: slices spread over its tumours' range (real slices are chosen so), and its volume.

    Args:
        n: Patients, of indices 0 to n - 1.
        seed: The simulator's.
        lossy_share: The part of patients whose slices pass through JPEG: the part of the real ones.
        variety: The simulator's; of 'wide' some show no kidney, and are sliced all along.
    """
    for index in range(n):
        image, label_map = simulate_case(seed, index, SIZE_XYZ, variety)
        hu, labels = np.asarray(image.array, float), np.asarray(label_map.array, np.uint8)
        rng = np.random.default_rng([seed, index])
        lossy = bool(rng.random() < lossy_share)
        shown = next((mask for mask in (labels == 2, labels > 0) if mask.any()), labels == 0)
        found = np.flatnonzero(shown.any(axis=(1, 2)))
        slices = []
        for k in np.linspace(found[0], found[-1], SLICES_PER_CASE + 2).astype(int)[1:-1]:
            clipped = np.clip(hu[k], 0, 255)
            kept = through_jpeg(clipped, int(rng.integers(*JPEG_QUALITY))) if lossy else clipped
            in_plane = image.geometry.spacing_mm_zyx[1:]
            slices.append(Slice(kept, labels[k], f"simulated_{index:05d}", lossy, in_plane, int(k)))
        yield slices, Case(hu, labels, image.geometry.spacing_mm_zyx)


def through_jpeg(hu: Image, quality: int) -> Image:
    """HU 0..255, kept as JPEG and read again."""
    kept = io.BytesIO()
    Picture.fromarray(np.rint(hu).astype(np.uint8)).save(kept, "JPEG", quality=quality)
    return np.asarray(Picture.open(kept), float)


def _grey(path: Path) -> Image:
    pixels = np.asarray(Picture.open(path), float)
    return pixels if pixels.ndim == 2 else pixels[..., 0]
