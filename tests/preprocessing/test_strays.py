"""Foreground that touches no kidney is dropped; a kidney, whatever is left of it, is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bisc.core.geometry import Geometry
from bisc.core.labels import TUMOR
from bisc.core.volume import Volume
from bisc.imageio import read_labels
from bisc.inference.cascade import NO_OFFSETS, run_cascade
from bisc.pipeline.segment import Model
from bisc.preprocessing.kidneys import drop_apart, drop_strays
from tests.support.stub_model import OBLIQUE, kidneys, stub_model
from tests.support.training_fixtures import TUMOR_HU, ellipsoid

GRID = OBLIQUE.canonical


def row(*values: int) -> npt.NDArray[np.uint8]:
    """One line of voxels as a volume."""
    return np.asarray(values, np.uint8).reshape(1, 1, -1)


def test_by_hand() -> None:
    """Two kidney voxels make a kidney: its tumour stays, the tumour beside a gap and the single kidney voxel go."""
    found = drop_strays(row(2, 2, 0, 1, 1, 2, 0, 1, 0, 2, 1), 2)
    assert found.ravel().tolist() == [0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 0]


def test_several_kidneys_stay() -> None:
    """Parts that a network severed, or two kidneys in one ROI."""
    both = row(1, 1, 2, 0, 2, 1, 1)
    assert np.array_equal(drop_strays(both, 2), both)


def test_without_any_kidney_the_largest_stays() -> None:
    """A kidney that is all tumour is still what the ROI was made for."""
    assert drop_strays(row(2, 0, 2, 2, 2, 0, 1), 2).ravel().tolist() == [0, 0, 2, 2, 2, 0, 0]


def test_where_a_kidney_is_doubtful_crumbs_go() -> None:
    """Without a kidney the largest stays only if it is as large as one."""
    crumbs = row(2, 2, 0, 1, 0, 2)
    assert drop_strays(crumbs, 3).ravel().tolist() == [2, 2, 0, 0, 0, 0]
    assert not drop_strays(crumbs, 3, doubtful=True).any()
    assert drop_strays(crumbs, 2, doubtful=True).ravel().tolist() == [2, 2, 0, 0, 0, 0]
    assert drop_strays(row(1, 1, 1, 0, 2), 3, doubtful=True).ravel().tolist() == [1, 1, 1, 0, 0]


def test_touching_at_a_corner_is_touching() -> None:
    """26-connected, as everywhere."""
    labels = np.zeros((2, 2, 2), np.uint8)
    labels[0, 0, 0], labels[1, 1, 1] = 1, 2
    assert np.array_equal(drop_strays(labels, 1), labels)


def test_nothing_to_drop() -> None:
    """Empty stays empty, one component stays itself, and the input is never written to."""
    empty, alone = row(0, 0, 0), row(0, 2, 0)
    assert not drop_strays(empty, 1).any()
    assert np.array_equal(drop_strays(alone, 9), alone)
    mixed = row(1, 0, 2)
    drop_strays(mixed, 1)
    assert mixed.ravel().tolist() == [1, 0, 2]


LONG = Geometry((120, 80, 100), (3.0, 4.0, 4.0), (-198.0, -158.0, -178.0))
CUBES = Geometry((1, 1, 200), (10.0, 10.0, 10.0))
"""Voxels of 1 ml in a line along x."""
BOTH = [1] * 40 + [2] * 5 + [0] * 30 + [1] * 31


@pytest.mark.parametrize(
    ("line", "apart"),
    [
        ([*BOTH, 0, 2, 2, 2, 2], 4),
        ([*BOTH, 0, *[2] * 60, *[1] * 29], 89),
        ([*BOTH, 0, *[2] * 60, *[1] * 30], 0),  # as much tissue as a kidney has
        ([*BOTH, 0, *[2] * 7, *[1] * 8], 0),  # more kidney than tumour
        ([*BOTH, 2, 2], 0),  # of the kidney itself
        ([*[1] * 90, 0, *[2] * 80], 0),
        ([0], 0),
    ],
)
def test_what_lies_apart_from_both_kidneys(line: list[int], apart: int) -> None:
    labels = np.zeros(CUBES.shape_zyx, np.uint8)
    labels[0, 0, : len(line)] = line
    kept, ml = drop_apart(labels.copy(), CUBES)
    assert ml == apart
    changed = np.flatnonzero(kept != labels)
    assert len(changed) == apart
    assert not kept.ravel()[changed].any()


@pytest.mark.parametrize(
    ("gap", "size", "apart"),
    [
        (5, 14, 14),  # 6 voxels of 10 mm from the nearer kidney; half of it are 15.5
        (4, 14, 14),  # 50 mm
        (3, 14, 0),  # 40 mm: a piece of it, perhaps
        (5, 16, 0),  # half as large: perhaps a third kidney
        (5, 40, 0),  # a transplanted one, larger than one that failed
    ],
)
def test_what_is_far_from_both_kidneys_and_small(gap: int, size: int, apart: int) -> None:
    """Kidneys of 45 and 31 ml in a line along x, then kidney tissue beyond."""
    labels = np.zeros(CUBES.shape_zyx, np.uint8)
    line = [*BOTH, *[0] * gap, *[1] * size]
    labels[0, 0, : len(line)] = line
    kept, ml = drop_apart(labels.copy(), CUBES)
    assert ml == apart
    assert np.flatnonzero(kept != labels).tolist() == list(range(len(line) - apart, len(line)))


def test_far_pieces_beside_a_lone_kidney_stay() -> None:
    """The other kidney may be one of them."""
    labels = np.zeros(CUBES.shape_zyx, np.uint8)
    labels[0, 0, :60] = labels[0, 0, 100:110] = 1
    assert drop_apart(labels, CUBES)[1] == 0.0


def test_a_kidney_in_two_parts_is_not_both() -> None:
    """One above the other: what lies beside them may be the other kidney, all tumour."""
    labels = np.zeros((3, 1, 100), np.uint8)
    labels[0, 0, :31] = labels[2, 0, :31] = 1
    labels[0, 0, 40:] = 2
    assert drop_apart(labels, Geometry(labels.shape, (10.0, 10.0, 10.0)))[1] == 0.0


def test_references_have_nothing_apart(shared_folder: Path) -> None:
    """Every 24th map of KiTS19, as the reader gives it."""
    for path in sorted((shared_folder / "kits19").glob("case_*/segmentation.nii.gz"))[::24]:
        volume = read_labels(path).volume
        labels = volume.array.astype(np.uint8)
        assert drop_apart(labels, volume.geometry)[1] < 0.01, path  # case_00135 has a speck of 0.004 ml


def test_in_the_cascade() -> None:
    """Tumour-like tissue in a kidney's ROI, apart from the kidney, is background; the kidney's own tumour is not."""
    image, truth = kidneys(GRID, speck=False)
    spleen = ellipsoid(GRID, (-30.0, -22.0, 60.0), (5.0, 5.0, 5.0))
    assert not (truth[spleen] > 0).any()
    hu = image.array.copy()
    hu[spleen] = TUMOR_HU
    found = run_cascade(Volume(hu, GRID), stub_model(), "argmax")
    roi = max(found.native, key=lambda r: r.box.start_zyx[2])
    inside = np.zeros(GRID.shape_zyx, bool)
    inside[roi.box.to_slices()] = True
    assert inside[spleen].all()  # the ROI does hold it: without the rule it would be called tumour
    labels = found.labels(NO_OFFSETS)
    assert not labels[spleen].any()
    assert (labels == 2)[truth == 2].mean() > 0.9


def test_a_mass_apart_from_both_kidneys_is_told() -> None:
    """In the pelvis, say: not in the mask, in a note; and in the mask where one kidney is missing."""
    for centres, told in (((-60.0, 60.0), True), ((60.0,), False)):
        image, truth = kidneys(LONG, centres, speck=False)
        womb = ellipsoid(LONG, (-120.0, 0.0, 0.0), (20.0, 20.0, 20.0))
        assert not truth[womb].any()
        hu = image.array.copy()
        hu[womb] = TUMOR_HU
        found = Model(stub_model()).segment(hu, spacing=LONG.spacing_mm_zyx, decision="argmax")
        assert any("ml found apart from both kidneys" in note for note in found.notes) is told
        assert not found.labels[womb].any() if told else (found.labels[womb] == TUMOR).mean() > 0.75  # but for its rim
        assert (found.labels == TUMOR)[truth == TUMOR].mean() > 0.8
