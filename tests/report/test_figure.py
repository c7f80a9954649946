"""The case figure: orientation, aspect, choice of slice and view, and files that come out whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bisc.core.geometry import Geometry
from bisc.core.volume import Box, Volume
from bisc.report.figure3 import CaseFigure, draw_case, draw_overlay, pixels_per_mm, render_case, render_overlay
from bisc.report.style import TUMOR_COLOUR
from bisc.report.views import choose_box, choose_slice, display_slices

SHAPE = (40, 120, 260)  # z, y, x: 160 x 120 x 260 mm
GEOMETRY = Geometry(SHAPE, (4.0, 1.0, 1.0))
WHOLE = Box.of_shape(SHAPE)


def volume(array: npt.NDArray[np.generic]) -> Volume:
    return Volume(array, GEOMETRY)


def empty() -> Volume:
    return volume(np.zeros(SHAPE, np.uint8))


def two_kidneys() -> Volume:
    """Kidneys in slices 10 to 29; a tumour of 20 x 20 voxels in slices 20 to 24, rows 60 to 79, on the left."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:30, 50:90, 40:80] = 1
    labels[10:30, 50:90, 180:220] = 1
    labels[20:25, 60:80, 190:210] = 2
    return volume(labels)


def figure(case: str = "case", reference: Volume | None = None, labels: Volume | None = None) -> CaseFigure:
    image = volume(np.full(SHAPE, -1000, np.int16))
    labels = labels if labels is not None else two_kidneys()
    scores = {"rough": {"dice_kidney": 0.9, "dice_tumor": float("nan")}, "fine": {"dice_kidney": 0.95}}
    return CaseFigure(case, image, labels, labels, reference, scores)


def test_patients_left_is_on_the_viewers_right_and_superior_is_up() -> None:
    array = np.zeros(SHAPE, np.int16)
    array[35, 20, 200] = 1  # superior, anterior, patient's left
    axial, coronal = display_slices(volume(array), (35, 20, 0), WHOLE)
    assert np.argwhere(axial.pixels).tolist() == [[20, 200]]  # row 20 of 120 is up, column 200 of 260 is right
    assert np.argwhere(coronal.pixels).tolist() == [[39 - 35, 200]]
    assert (axial.sides, coronal.sides) == ("RLAP", "RLSI")  # left, right, top, bottom of the screen


def test_views_are_in_mm() -> None:
    axial, coronal = display_slices(empty(), (0, 0, 0), Box((10, 20, 30), (20, 70, 230)))
    assert (axial.height_mm, axial.width_mm) == (50.0, 200.0)
    assert (coronal.height_mm, coronal.width_mm) == (10 * 4.0, 200.0)
    assert coronal.extent_mm == (0.0, 200.0, 40.0, 0.0)
    # The axial view is 50 of 200 mm: 430 pixels across make 2.15 a mm.
    assert pixels_per_mm((axial, coronal)) == pytest.approx(430 / 200)
    assert pixels_per_mm((axial, coronal), max_row=25) == pytest.approx(25 / 50)


def test_slice_of_the_largest_tumour() -> None:
    labels = np.array(two_kidneys().array, dtype=np.uint8)
    labels[22, 60:80, 185:190] = 2
    labels[20:25, 71, 215:219] = 2
    assert choose_slice([labels])[:2] == (22, 71)


def test_of_equal_slices_the_middle_one() -> None:
    assert choose_slice([np.array(two_kidneys().array, dtype=np.uint8)])[:2] == (22, 70)


def test_slice_follows_the_reference_then_the_predictions_then_the_kidney() -> None:
    tumor, kidney, none = (np.zeros(SHAPE, np.uint8) for _ in range(3))
    tumor[5, 6, 7] = 2
    kidney[8, 9, 10] = 1
    assert choose_slice([kidney, tumor])[:2] == (5, 6)
    assert choose_slice([none, kidney])[:2] == (8, 9)
    assert choose_slice([none, none]) == (20, 60, 130)
    assert Box.of_mask(none) is None
    assert Box.of_mask(tumor) == Box((5, 6, 7), (6, 7, 8))


def test_view_holds_both_kidneys_with_a_margin_inside_the_volume() -> None:
    labels = np.array(two_kidneys().array, dtype=np.uint8)
    box = choose_box([labels], GEOMETRY)
    # x: 40 to 220 with 25 mm = 15 to 245, widened to 240 mm; y: 150 mm are wanted, all 120 are there;
    # z: 20 slices with 25 mm are 32.5, 150 mm are 37.5 slices of 4 mm.
    assert box.start_zyx[2] == 10
    assert box.stop_zyx[2] == 250
    assert (box.start_zyx[1], box.stop_zyx[1]) == (0, 120)
    assert box.shape_zyx[0] == 38
    assert WHOLE.contains(box)
    found = Box.of_mask(labels)
    assert found is not None
    assert box.contains(found)
    assert choose_box([np.zeros(SHAPE, np.uint8)], GEOMETRY) == WHOLE


def test_view_at_the_border_is_moved_not_cut() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[0:4, 0:10, 0:10] = 1
    box = choose_box([labels], GEOMETRY)
    assert box.start_zyx == (0, 0, 0)
    assert box.shape_zyx == (38, 120, 240)


def test_file_has_the_size_the_layout_says(tmp_path: Path) -> None:
    draw_case(figure(reference=two_kidneys()), tmp_path / "new" / "case.png")
    with Image.open(tmp_path / "new" / "case.png") as png:
        size = png.size
    # 4 columns of 430 with 3 gaps of 8 and margins of 12; 430 px are 240 mm, so rows of 120 and 152 mm.
    rows = round(120 * 430 / 240) + round(152 * 430 / 240)
    assert size == (4 * 430 + 3 * 8 + 2 * 12, 100 + rows + 8 + 12)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["case.png"]
    assert (tmp_path / "new" / "case.png").stat().st_size < 600_000


def test_without_a_reference_there_are_three_columns() -> None:
    assert render_case(figure()).shape[1] == 3 * 430 + 2 * 8 + 2 * 12


def test_drawn_picture_keeps_the_orientation() -> None:
    """A bright block at the patient's left, superior: in the CT panels it is right, in the coronal one above."""
    shown = figure()
    array = np.full(SHAPE, -1000, np.int16)
    array[20:28, 60:80, 190:210] = 3000
    bright = render_case(CaseFigure("case", volume(array), shown.rough, shown.fine))[..., 0] > 127
    dark = render_case(shown)[..., 0] > 127
    rows, columns = np.nonzero(bright & ~dark)
    first = (columns >= 12) & (columns < 442)
    axial, coronal = first & (rows < 315), first & (rows >= 323)
    # x 190 to 210 of the view's 10 to 250 mm: (180 to 200) * 430 / 240 pixels from the panel's left edge.
    for panel in (axial, coronal):
        assert columns[panel].min() - 12 == pytest.approx(180 * 430 / 240, abs=3)
        assert columns[panel].max() - 12 == pytest.approx(200 * 430 / 240, abs=3)
    assert rows[axial].min() - 100 == pytest.approx(60 * 430 / 240, abs=3)
    # z 20 to 28 of the view's 1 to 39, superior up: 11 to 19 slices of 4 mm from the top, in the same scale.
    assert rows[coronal].min() - 323 == pytest.approx(11 * 4 * 430 / 240, abs=3)
    assert rows[coronal].max() - 323 == pytest.approx(19 * 4 * 430 / 240, abs=3)


def test_outlines_lie_on_the_tumour() -> None:
    colour = [int(TUMOR_COLOUR[i : i + 2], 16) for i in (1, 3, 5)]
    pixels = render_case(figure()).astype(int)
    rows, columns = np.nonzero(np.abs(pixels - colour).max(axis=2) < 40)
    left = 12 + 430 + 8  # the rough result's panel
    inside = (columns >= left) & (columns < left + 430) & (rows >= 100) & (rows < 315)
    assert columns[inside].min() - left == pytest.approx((190 - 10) * 430 / 240, abs=2)
    assert columns[inside].max() - left == pytest.approx((210 - 10) * 430 / 240, abs=2)
    assert rows[inside].min() - 100 == pytest.approx(60 * 430 / 240, abs=2)
    assert rows[inside].max() - 100 == pytest.approx(80 * 430 / 240, abs=2)


def test_the_overlay_has_the_prediction_under_the_reference() -> None:
    """One axial panel 640 wide: 240 x 120 mm; amber where the prediction's tumour ends, white where the reference's."""
    moved = np.array(two_kidneys().array, dtype=np.uint8)
    moved[moved == 2] = 1
    moved[20:25, 60:80, 180:200] = 2  # the reference: 10 mm nearer to the middle
    alone = render_overlay(figure()).astype(int)
    both = render_overlay(figure(reference=volume(moved))).astype(int)
    assert alone.shape == both.shape == (320, 640, 3)
    colour = [int(TUMOR_COLOUR[i : i + 2], 16) for i in (1, 3, 5)]
    amber = np.nonzero(np.abs(both - colour).max(axis=2) < 40)[1]
    white = np.nonzero((both.min(axis=2) > 200) & (alone.min(axis=2) < 100))
    inner = white[1][(white[0] > 65 * 640 / 240) & (white[0] < 75 * 640 / 240)]  # rows of the tumour's height
    assert amber.max() == pytest.approx((210 - 10) * 640 / 240, abs=3)
    assert np.abs(inner - (180 - 10) * 640 / 240).min() <= 3
    assert np.abs(inner - (200 - 10) * 640 / 240).min() <= 3


@pytest.mark.parametrize("name", ["nothing", "$not math$", "患者 1", "n" * 300])
def test_nothing_found_and_odd_names_draw(name: str, tmp_path: Path) -> None:
    for draw in (draw_case, draw_overlay):
        draw(figure(name, reference=empty(), labels=empty()), tmp_path / f"{draw.__name__}.png")
        assert (tmp_path / f"{draw.__name__}.png").is_file()


def test_one_voxel_and_a_mask_at_the_border_draw(tmp_path: Path) -> None:
    tiny = Geometry((1, 1, 1), (5.0, 1.0, 1.0))
    one = Volume(np.ones((1, 1, 1), np.uint8), tiny)
    draw_case(CaseFigure("one", Volume(np.zeros((1, 1, 1), np.int16), tiny), one, one), tmp_path / "one.png")
    full = volume(np.full(SHAPE, 2, np.uint8))
    draw_case(figure(labels=full), tmp_path / "full.png")


def test_threads_draw_the_same() -> None:
    alone = render_case(figure())
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(render_case, [figure()] * 3))
    assert all(np.array_equal(alone, pixels) for pixels in together)


def test_other_grid_is_refused() -> None:
    small = Volume(np.zeros((2, 2, 2), np.uint8), Geometry((2, 2, 2), (1.0, 1.0, 1.0)))
    with pytest.raises(ValueError, match="fine labels are"):
        CaseFigure("case", volume(np.zeros(SHAPE, np.int16)), empty(), small)
