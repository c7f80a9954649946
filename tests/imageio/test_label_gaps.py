"""Label maps drawn on some slices alone, as outlines, or in litres are told of; real and simulated ones are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from bisc.core.volume import NativeGrid
from bisc.imageio import CaseImage, read_labels
from bisc.imageio.label_gaps import tell_of_label_map
from bisc.system.console import collecting
from tests.support.grids import ball, grid

GRID = grid((40, 60, 60), (3.0, 1.5, 1.5))
LEFT, RIGHT = ball(GRID, (55, 45, 20), 18), ball(GRID, (65, 45, 68), 18)
BOTH: npt.NDArray[np.bool_] = LEFT | RIGHT


def held(mask: npt.NDArray[Any]) -> CaseImage:
    native = NativeGrid.of(GRID)
    return CaseImage(Path("a.nii.gz"), native.to_canonical(mask.astype(np.uint8)), native)


def told(labels: CaseImage) -> list[str]:
    with collecting(quiet=True) as notes:
        tell_of_label_map(labels)
    return list(notes)


def drawn(axis: int, step: int) -> npt.NDArray[np.bool_]:
    """Every `step`-th slice."""
    mask = np.zeros_like(BOTH)
    at: list[Any] = [slice(None)] * 3
    at[axis] = slice(None, None, step)
    mask[tuple(at)] = BOTH[tuple(at)]
    return mask


def test_two_whole_kidneys_need_no_word() -> None:
    assert told(held(BOTH)) == []
    assert told(held(np.zeros_like(BOTH))) == []
    assert told(held(BOTH & (np.arange(40) == 20)[:, None, None])) == []  # of one slice


@pytest.mark.parametrize("step", [2, 3, 5])
@pytest.mark.parametrize(("axis", "name"), [(0, "axial"), (1, "coronal"), (2, "sagittal")])
def test_maps_drawn_on_some_slices_alone_are_told_of(axis: int, name: str, step: int) -> None:
    (line,) = told(held(drawn(axis, step)))
    assert f"break off and go on from one {name} slice to another" in line


def test_one_of_two_kidneys_is_enough() -> None:
    (line,) = told(held(np.where(RIGHT, BOTH, drawn(0, 2))))
    assert "from one axial slice" in line


@pytest.mark.parametrize("lost", [(20,), (20, 21, 22)])
def test_a_slice_that_is_empty_amid_a_kidney_is_told_of(lost: tuple[int, ...]) -> None:
    """At 60 mm (to 66 mm) from the first; of the kidneys, of one, or of its tumour alone."""
    some = np.isin(np.arange(40), lost)[:, None, None]
    where = ", ".join(f"{GRID.origin_mm_xyz[2] + 3 * z:.4g}" for z in lost)
    (line,) = told(held(BOTH & ~some))
    assert f"its kidney breaks off and goes on behind an empty axial slice (z {where} mm)" in line
    (line,) = told(held(BOTH & ~(some & LEFT)))
    assert "its kidney breaks off" in line


def test_so_is_one_of_either_class() -> None:
    """Where the other one is there: a SEG's segments have frames of their own."""
    labels, there = BOTH.astype(np.uint8), (np.arange(40) != 20)[:, None, None]
    tumour = ball(GRID, (60, 45, 20), 12)
    labels[tumour & there] = 2
    (line,) = told(held(labels))
    assert "its tumour breaks off" in line
    (line,) = told(held(np.where(tumour, 2, BOTH & there)))
    assert "its kidney breaks off" in line


def test_a_gap_of_a_cm_is_no_lost_slice() -> None:
    apart = BOTH & ~np.isin(np.arange(40), (20, 21, 22, 23))[:, None, None]
    assert told(held(apart)) == []
    labels = BOTH.astype(np.uint8)
    labels[ball(GRID, (60, 45, 20), 5) & ~(np.arange(40) == 20)[:, None, None]] = 2
    assert told(held(labels)) == []  # its slices have less than 1 cm2


def test_outlines_that_were_not_filled_are_told_of() -> None:
    outlines = np.stack([plane & ~ndimage.binary_erosion(plane) for plane in BOTH])
    (line,) = told(held(outlines))
    assert "as outlines that were not filled" in line


def test_litres_are_told_of() -> None:
    """Inverted: 40 x 60 x 60 voxels of 20.25 mm3 are 2916 ml, less the two balls."""
    big = grid((40, 60, 60), (9.0, 1.5, 1.5))
    native = NativeGrid.of(big)
    labels = CaseImage(Path("a.nii.gz"), native.to_canonical((~BOTH).astype(np.uint8)), native)
    assert "implausible: 2" in told(labels)[0]
    assert "expected at most 2500 ml" in told(labels)[0]


def test_real_and_simulated_maps_need_no_word(shared_folder: Path, tiny_dataset: Path) -> None:
    kits = sorted(shared_folder.glob("kits19/case_*/segmentation.nii.gz"))
    odd = [path for path in kits if path.parent.name in ("case_00023", "case_00156", "case_00164")]
    for path in [*odd, *kits[::60], *tiny_dataset.glob("*/segmentation.nii.gz")]:
        assert told(read_labels(path)) == [], path
