"""Flags beside the truth: what predictions say of themselves, and how right they were.

    python -m benchmarks.flags bisc_model/model.zip raw/Simulated raw/Wide -o bench_out/flags/fit.csv
    python -m benchmarks.flags bisc_model/model.zip raw/Others -o bench_out/flags/test.csv [--spoil 1]
    python -m benchmarks.flags_fit bench_out/flags/fit.csv --test bench_out/flags/test.csv -o bench_out/flags

A row a case of KiTS19-layout folders: every number of its flags, light, risk, and the scores of its mask. Beside it
FILE_segments.csv, a row a kidney and tumour: its size, the sizes of its stricter and laxer mask, and the true one. With
`--spoil` images are spoilt first in one of five ways: noise, another contrast, blur, a smooth drift of HU.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy import ndimage

from bisc.core.choices import DEFAULT_DECISION
from bisc.core.volume import Box
from bisc.evaluation.cases import score_arrays
from bisc.evaluation.diameters import axial_diameter_mm
from bisc.imageio import CaseImage, read_image, read_labels
from bisc.inference.cascade import CascadeResult, RoughExcess
from bisc.inference.kept import softmax_of_rois
from bisc.inference.model import Model, load_model
from bisc.measurement.intervals import shifted_masks
from bisc.network.device import choose_device
from bisc.pipeline.segment import segment_case
from bisc.preprocessing.segments import Segment, divide

ROOM: Final = (3, 8, 8)
"""Voxels (z, y, x) around a segment and its true one, that its laxer mask may grow into."""
TISSUE_HU: Final = -300.0
Labels = npt.NDArray[np.uint8]
Row = dict[str, Any]


def main() -> None:
    """Predict every case, write both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="archive of bisc_export")
    parser.add_argument("folders", type=Path, nargs="+", help="of CASE/imaging.nii.gz and CASE/segmentation.nii.gz")
    parser.add_argument("-o", dest="out", type=Path, required=True, metavar="FILE.csv")
    parser.add_argument("-n", type=int, help="so many cases of each folder (default: all)")
    parser.add_argument("--spoil", type=int, metavar="SEED", help="spoil images first")
    parser.add_argument("--check-edges", action="store_true", help="as of bisc_predict")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = load_model(args.model, None, choose_device("cpu", "fp32"), check_edges=args.check_edges)
    rng = None if args.spoil is None else np.random.default_rng(args.spoil)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    segments: list[Row] = []
    for folder in args.folders:
        for case in sorted(folder.glob("case_*"))[: args.n]:
            row, found = told(case, model, rng)
            rows.append(row)
            segments += found
            pd.DataFrame(rows).to_csv(args.out, index=False)  # after each: it takes long
            pd.DataFrame(segments).to_csv(args.out.with_name(f"{args.out.stem}_segments.csv"), index=False)
            print(row["case"], row.get("light"), row.get("risk"), row.get("dice_kidney"), flush=True)


def told(case: Path, model: Model, rng: np.random.Generator | None) -> tuple[Row, list[Row]]:
    """A case's row, and those of its kidneys and tumours; of one that the cascade refuses, its name alone."""
    name = f"{case.parent.name}/{case.name}"
    image = read_image(case / "imaging.nii.gz")
    truth = read_labels(case / "segmentation.nii.gz").volume.array.astype(np.uint8)
    if rng is not None:
        image = replace(image, volume=image.volume.with_array(spoilt(image.volume.array, rng)))
    try:
        found, result = segment_case(image, model, DEFAULT_DECISION)
    except RoughExcess:
        return {"case": name, "excess": 1}, []
    labels = image.native.to_canonical(found.labels).array
    numbers = {flag.name: flag.value for flag in found.flags.flags}
    scores = asdict(score_arrays(name, truth, labels, image.volume.geometry.spacing_mm_zyx))
    row = {"case": name, "excess": 0, "light": found.flags.light, "risk": found.flags.risk, **numbers, **scores}
    return row, list(sizes_of(name, image, labels, truth, result))


def sizes_of(name: str, image: CaseImage, labels: Labels, truth: Labels, result: CascadeResult) -> Iterator[Row]:
    """A row for each kidney and tumour of a mask; what overlaps it most in the truth is its true one."""
    grid = result.image.geometry
    numbered, segments = divide(labels, grid, result.min_kidney_ml, result.middle_mm)
    true, others = divide(truth, grid, result.min_kidney_ml, result.middle_mm)
    softmax = softmax_of_rois(result.native, image.native)
    for one in segments:
        own = numbered == one.number
        mate = mate_of(one, own, others, true)
        reference = None if mate is None else true == mate.number
        box = Box.of_mask(own if reference is None else own | reference)
        assert box is not None  # no segment is empty
        near = box.padded(ROOM).clipped(own.shape)
        assert near is not None
        at = near.to_slices()
        channel = image.native.to_canonical(softmax[1 if one.organ == "kidney" else 2]).array
        other = (numbered[at] > 0) & ~own[at]
        masks = [own[at], *shifted_masks(channel[at], own[at], other)]
        masks += [] if reference is None else [reference[at]]
        yield {"case": name, "organ": one.organ, "found": mate is not None, **measured(masks, grid.spacing_mm_zyx)}


def mate_of(one: Segment, own: npt.NDArray[np.bool_], others: list[Segment], true: Labels) -> Segment | None:
    """The segment of the truth, of the same organ, that overlaps one most."""
    shared = np.bincount(true[own], minlength=256)
    mates = [other for other in others if other.organ == one.organ and shared[other.number]]
    return max(mates, key=lambda other: shared[other.number], default=None)


def measured(masks: list[npt.NDArray[np.bool_]], spacing_mm_zyx: tuple[float, float, float]) -> Row:
    """Volume in ml and axial diameter in mm of a mask, its stricter and laxer one, and the true one where it is."""
    row: Row = {}
    for name, mask in zip(("", "_strict", "_lax", "_true"), masks, strict=False):
        row[f"ml{name}"] = np.count_nonzero(mask) * float(np.prod(spacing_mm_zyx)) / 1000.0
        row[f"mm{name}"] = axial_diameter_mm(mask, spacing_mm_zyx)
    if len(masks) > 3:
        row["dice"] = 2.0 * np.count_nonzero(masks[0] & masks[3]) / (masks[0].sum() + masks[3].sum())
    return row


def spoilt(array: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """(z, y, x) HU spoilt in one of five ways, drawn anew for every case."""
    hu = array.astype(float)
    tissue = hu > TISSUE_HU
    kind = int(rng.integers(5))
    if kind == 0:
        hu += rng.normal(0.0, rng.uniform(30.0, 120.0), hu.shape)
    elif kind == 1:
        hu = np.where(tissue, hu + rng.uniform(-90.0, 90.0), hu)
    elif kind == 2:
        sigma = float(rng.uniform(1.5, 4.0))
        hu = ndimage.gaussian_filter(hu, (0.0, sigma, sigma))
    elif kind == 3:
        hu = np.where(hu > 0, hu * rng.uniform(0.2, 0.6), hu)
    else:
        drift = 60.0 * float(rng.uniform(-80.0, 80.0))
        hu = np.where(tissue, hu + ndimage.gaussian_filter(rng.normal(0.0, 1.0, hu.shape), 6.0) * drift, hu)
    return np.clip(hu, -1024, 3000).astype(np.int16)


if __name__ == "__main__":
    main()
