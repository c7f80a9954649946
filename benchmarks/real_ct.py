"""A trained cascade on the real CT at hand: what it found, and a picture of each scan.

    python -m benchmarks.real_ct bisc_model/model.zip -o bench_out/real_ct

Scans lie in ../shared/ct (`--ct`): CASE/ct.nii.gz or a DICOM series, beside it kidneys.nii.gz where there is a
reference of both kidneys. The table tells what the masks hold; a scan without a reference is judged by its picture.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from bisc.cli.predict import main as bisc_predict
from bisc.core.volume import Volume
from bisc.evaluation.overlap import dice
from bisc.imageio import read_image, read_labels
from bisc.pipeline.options import TABLE
from bisc.pipeline.rows import read_rows
from bisc.report.figure3 import CaseFigure, draw_case

REFERENCE: Final = "kidneys.nii.gz"
NEAR_MM: Final = 10.0
"""What lies further from a reference's kidneys is not a rim drawn too generously."""


@dataclass(frozen=True)
class Scan:
    """One real CT: a file or a series, and the reference of its kidneys, if there is one."""

    name: str
    image: Path
    reference: Path | None


def main() -> None:
    """Predict every scan, draw it, print the table."""
    shared = Path(os.environ.get("BISC_SHARED") or Path(__file__).resolve().parents[1].parent / "shared")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="archive of bisc_export")
    parser.add_argument("--ct", type=Path, default=shared / "ct", help="folder of scans (default: %(default)s)")
    parser.add_argument("-o", dest="out", type=Path, default=Path("bench_out/real_ct"))
    args = parser.parse_args()
    rows = [found(scan, args.model, args.out) for scan in scans_in(args.ct)]
    table = pd.DataFrame(rows)
    table.to_csv(args.out / "real_ct.csv", index=False)
    print(table.to_string(index=False))


def scans_in(folder: Path) -> list[Scan]:
    """The scans of a folder, one a sub-folder, by name."""
    scans = []
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        image, reference = case / "ct.nii.gz", case / REFERENCE
        scans.append(Scan(case.name, image if image.exists() else case, reference if reference.exists() else None))
    return scans


def found(scan: Scan, model: Path, out: Path) -> dict[str, object]:
    """Predict one scan, draw it, and measure its mask."""
    masks = out / scan.name
    status = bisc_predict(["-i", str(scan.image), "-o", str(masks), "-m", str(model), "--save-rough"])
    row = read_rows(masks / TABLE)[-1]
    if status:
        return {"scan": scan.name, "status": row.error}
    image = read_image(scan.image).volume
    fine, rough = (_labels(path / f"{row.case}.nii.gz") for path in (masks, masks / "rough"))
    reference = _labels(scan.reference) if scan.reference else None
    draw_case(CaseFigure(scan.name, image, rough, fine, reference), out / f"{scan.name}.png")
    labels, ml = fine.array, image.geometry.voxel_volume_ml
    figures = {"status": row.status, "kidney_ml": ml * (labels > 0).sum(), "tumour_ml": ml * (labels == 2).sum()}
    if reference is not None:
        figures |= against(labels > 0, reference.array > 0, image.geometry.spacing_mm_zyx, ml)
    return {"scan": scan.name, **{k: v if isinstance(v, str) else round(float(v), 3) for k, v in figures.items()}}


def against(
    mask: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], spacing_mm_zyx: tuple[float, ...], voxel_ml: float
) -> dict[str, float]:
    """Dice of (z, y, x) masks of both kidneys together, and what lies more than `NEAR_MM` from the true ones, in ml."""
    far = ndimage.distance_transform_edt(~truth, sampling=spacing_mm_zyx) > NEAR_MM
    return {"dice": dice(truth, mask), "far_ml": voxel_ml * float((mask & far).sum())}


def _labels(path: Path) -> Volume:
    return read_labels(path).volume


if __name__ == "__main__":
    main()
