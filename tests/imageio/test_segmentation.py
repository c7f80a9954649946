"""A DICOM SEG read back: whose its segments are, and how far its slices lie apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from bisc.core.volume import Volume
from bisc.imageio.formats.dicom.segment_names import contradiction, is_joint, meaning_of_segment
from bisc.imageio.formats.dicom.segmentation import read_segmentation
from bisc.imageio.inputs import find_inputs
from bisc.imageio.scan import open_scan
from bisc.pipeline.measure_jobs import read_mask
from bisc.system.console import collecting
from tests.report.test_dicom_objects import grid, made
from tests.support.ct_series import write_ct
from tests.support.grids import fault

KIDNEY, LIVER = ("64033007", "Kidney"), ("10200004", "Liver")


@pytest.mark.parametrize(
    ("label", "kind", "regions", "meant"),
    [
        ("Right kidney", "Kidney", [], "kidney"),
        ("kidney_left", "Tissue", [], "kidney"),
        ("kidney left", "Tissue", [("818981001", "Abdomen")], "kidney"),
        ("Niere links", "Kidney", [], "kidney"),
        ("Segment_1", "Kidney", [], "kidney"),
        ("Segment 1", "Tissue", [], None),
        ("Background", "Kidney", [], None),
        ("Renal cyst", "Cyst", [], "cyst"),
        ("Tumour 1 (left)", "Neoplasm", [KIDNEY], "tumor"),
        ("Kidney tumor, left", "Neoplasm", [], "tumor"),
        ("Tumor 1", "Tissue", [], "tumor"),
        ("Tumor 1", "Neoplasm", [("T-71000", "Niere")], "tumor"),
        ("Tumor 1", "Neoplasm", [("416550000", "Chest, Abdomen and Pelvis")], "tumor"),
        ("Tumor 1", "Neoplasm", [("113345001", "Abdomen"), LIVER], None),
        ("Tumor 1", "Neoplasm", [LIVER], None),
        ("Mass", "Mass", [("23451007", "Adrenal gland")], None),
        ("Lesion", "Neoplasm", [("7832008", "Abdominal aorta")], None),
        ("Segment_2", "Neoplasm", [], "tumor"),
        ("Segment_2", "Neoplasm", [("9846003", "Right kidney")], "tumor"),
        ("Clear cell, lower pole", "Neoplasm", [KIDNEY], "tumor"),
        ("Liver metastasis 1", "Neoplasm", [], None),
        ("Liver metastasis 1", "Neoplasm", [LIVER], None),
        ("Hepatic cyst", "Cyst", [], None),
        ("Lymph node", "Mass", [("59441001", "Lymph node")], None),
        ("RCC metastasis", "Renal cell carcinoma", [("39607008", "Lung")], None),
        ("Liver", "Liver", [], None),
        *(
            ("Kidney", "Kidney", [("1", region)], "kidney")
            for region in ("", "^^", "Urogenital system", "Niere, links")
        ),
        ("Left Kidney", "Tissue", [("T-71020", "Niere links")], "kidney"),
        ("kidney_tumor", "Neoplasm", [("1", "Genitourinary system")], "tumor"),
        ("tumor", "Neoplasm", [("1", "Left upper quadrant of abdomen")], "tumor"),
        ("tumor", "Neoplasm", [("1", "Entire body as a whole")], "tumor"),
        ("Tumor", "Neoplasm", [("1", "Renal fossa")], "tumor"),
        ("Tumor", "Neoplasm", [("1", "Rein gauche")], "tumor"),
        ("Tumor", "Neoplasm", [("1", "Adrenal gland")], None),
        ("Segment_1", "Renal cell carcinoma", [("39607008", "Lung")], None),
        ("Untitled", "Neoplasm", [], "tumor"),
    ],
)
def test_what_a_segment_is(label: str, kind: str, regions: list[tuple[str, str]], meant: str | None) -> None:
    """What is of another organ is no kidney's, whatever its type says."""
    assert meaning_of_segment(label, kind, regions) == meant


JOINT = ("Kidney+Tumor", "Kidney & Tumor", "Left kidney/tumor", "Kidney, tumor", "Kidneys + Mass", "Kidney & cyst")


@pytest.mark.parametrize("label", [*JOINT, "Kidney (incl. tumor)", "Tumor + kidney", "Kidney and masses"])
def test_an_organ_with_what_lies_in_it_is_kidney(label: str) -> None:
    """And told where the type does not say so; a type that says tumour contradicts it."""
    assert meaning_of_segment(label, "Kidney", [], "64033007") == meaning_of_segment(label, "Tissue") == "kidney"
    assert not is_joint(label, "Niere", "64033007")
    assert is_joint(label, "Tissue")
    assert contradiction(label, "Neoplasm") == "its label means kidney, its type tumor"
    assert not contradiction(label, "Cyst")


@pytest.mark.parametrize(
    ("label", "kind", "code", "meant"),
    [
        ("Niere links", "Niere", "64033007", "kidney"),
        ("Segment_1", "Kidney structure", "64033007", "kidney"),
        ("Segment_1", "Left kidney", "", "kidney"),
        ("Rein", "Rein", "T-71000", "kidney"),
        ("Left + right kidney", "Tissue", "", "kidney"),
        ("Whole kidney", "Tissue", "", "kidney"),
        ("Neoplasm, Primary", "Neoplasm, Primary", "86049000", "tumor"),
        ("Neoplasm, Primary", "Neoplasm, Primary", "", "tumor"),
        ("Segment_2", "Malignant neoplasm of kidney", "", "tumor"),
        *((f"{growth} kidney", "Neoplasm", "", "tumor") for growth in ("Tumor of", "Tumor left", "Mass, right")),
        ("Tumor in the upper pole of the left kidney", "Tissue", "", "tumor"),
        ("Lesion 1", "Cyst", "367643001", "cyst"),
        ("Tumor margin", "Neoplasm", "108369006", None),
        *((f"Kidney {word} tumor", "Tissue", "", None) for word in ("-", "minus", "without", "w/o")),
        ("Tumor/cyst", "Tissue", "", None),
        ("Tumor beside left kidney", "Tissue", "", None),
        ("Neoplasm, Secondary", "Neoplasm, Secondary", "14799000", None),
    ],
)
def test_codes_count_before_words(label: str, kind: str, code: str, meant: str | None) -> None:
    assert meaning_of_segment(label, kind, [], code) == meant


@pytest.mark.parametrize(
    ("label", "kind", "code", "told"),
    [
        ("Kidney-Tumor", "Kidney", "64033007", False),
        ("Kidney", "Neoplasm", "108369006", False),
        ("Kidney & Tumor", "Neoplasm", "108369006", False),
        ("Segment_1", "Neoplasm", "64033007", False),
        ("Tumor", "Kidney", "64033007", True),
    ],
)
def test_label_against_type(tmp_path: Path, label: str, kind: str, code: str, told: bool) -> None:
    """Refused where the label may be the organ's or its tumour's, else told."""
    case = made(tmp_path, write_ct, grid(), kinds=("seg",))
    seg = pydicom.dcmread(case.out / "seg.dcm")
    item = seg.SegmentSequence[0]
    item.SegmentLabel, coded = label, item.SegmentedPropertyTypeCodeSequence[0]
    coded.CodeValue, coded.CodeMeaning = code, kind
    seg.save_as(tmp_path / "changed.dcm")
    if told:
        with collecting(quiet=True) as notes:
            read_segmentation(tmp_path / "changed.dcm")
        assert any("its label means tumor, its type kidney; counted by its label" in note for note in notes)
    else:
        assert f"segment {label} / {kind}: its " in fault(read_segmentation, tmp_path / "changed.dcm")


def without_step(seg: Dataset, path: Path, planes: slice) -> Path:
    """A SEG of some of its planes, in the order of their height, that does not say how far they lie apart."""
    frames = list(seg.PerFrameFunctionalGroupsSequence)
    heights = [float(frame.PlanePositionSequence[0].ImagePositionPatient[2]) for frame in frames]
    kept = [k for k, height in enumerate(heights) if height in sorted(set(heights))[planes]]
    n_bytes = seg.Rows * seg.Columns // 8
    seg.PixelData = b"".join(seg.PixelData[k * n_bytes : (k + 1) * n_bytes] for k in kept)
    seg.PixelData += b"\0" * (len(seg.PixelData) % 2)
    seg.PerFrameFunctionalGroupsSequence = [frames[k] for k in kept]
    seg.NumberOfFrames = len(kept)
    del seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    seg.save_as(path)
    return path


def test_how_far_slices_lie_apart_is_not_made_up(tmp_path: Path) -> None:
    """SpacingBetweenSlices may be absent: neighbours tell it, of one slice its thickness; of every second one nothing
    but the image."""
    case = made(tmp_path, write_ct, grid(), kinds=("seg",))
    box = np.flatnonzero((case.labels > 0).any(axis=(1, 2)))

    def seg() -> Dataset:
        return pydicom.dcmread(case.out / "seg.dcm")

    whole = read_segmentation(without_step(seg(), tmp_path / "whole.dcm", slice(None))).volume
    assert whole.geometry.is_same_grid(read_segmentation(case.out / "seg.dcm").volume.geometry)
    assert np.array_equal(whole.array[1:-1], case.labels[box[0] : box[-1] + 1])
    with collecting(quiet=True) as notes:
        one = read_segmentation(without_step(seg(), tmp_path / "one.dcm", slice(9, 10))).volume
    assert one.geometry.spacing_mm_zyx == pytest.approx((4.0, 4.0, 4.5))
    assert "one slice, and no SpacingBetweenSlices (0018,0088); taken as 4 mm" in notes[0]
    sparse = without_step(seg(), tmp_path / "sparse.dcm", slice(1, None, 2))
    assert "slices 4 mm thick, its nearest slices 8 mm apart" in fault(read_segmentation, sparse)
    found = read_segmentation(sparse, grid()).volume
    assert found.geometry.spacing_mm_zyx == pytest.approx((4.0, 4.0, 4.5))
    assert np.count_nonzero(found.array) == np.count_nonzero(case.labels[box[1::2]])


def test_slices_may_lie_a_little_off(tmp_path: Path) -> None:
    """By what a series may: its SEG is read back, and lies on it."""

    def write(folder: Path, volume: Volume) -> None:
        def change(data: Dataset, i: int) -> None:
            data.ImagePositionPatient[2] += (0.3, -0.2, 0.0)[i % 3]

        write_ct(folder, volume, change=change)

    case = made(tmp_path, write, grid(), kinds=("seg",))
    (study,) = find_inputs(tmp_path / "in")
    labels = read_mask(case.out / "seg.dcm", open_scan(study).read()).volume
    assert np.array_equal(labels.array, case.labels)
