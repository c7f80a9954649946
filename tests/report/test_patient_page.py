"""A patient's page: its numbers and words, sides of its pictures, what is packed into it; nothing leaves it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bisc.core.errors import WorkError
from bisc.core.geometry import Geometry
from bisc.core.volume import Box, Volume
from bisc.measurement.definitions import OF
from bisc.measurement.measures import Measure
from bisc.preprocessing.segments import Segment, divide
from bisc.report.patient import niivue
from bisc.report.patient.embedded import HU_LOW, HU_STEP, pack, pack_surfaces
from bisc.report.patient.index import IndexRow, index_page
from bisc.report.patient.key_slices import Picture, key_slices, place_of
from bisc.report.patient.page import MadePage, case_page
from bisc.report.patient.relief import reliefs
from bisc.report.patient.words import interval, sentences, told
from bisc.report.style import KIDNEY_COLOUR, TUMOR_COLOUR, TUMOR_COLOURS, colour_of
from bisc.report.views import choose_box, display_slice
from tests.support.patient import GRID, SHAPE, image, labels, measured, page

EVIL = '<script>alert("1")</script>{{ 7 * 7 }}'


@pytest.fixture(scope="module")
def made() -> MadePage:
    return case_page(page(case=EVIL, identity={"Name": "<b>Doe</b>"}))


@pytest.fixture(scope="module")
def nothing() -> MadePage:
    return case_page(page(np.zeros(SHAPE, np.uint8), flags=None))


def unpacked(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text))


def pixels_of(picture: Picture) -> npt.NDArray[np.int_]:
    with Image.open(io.BytesIO(base64.b64decode(picture.data.partition(",")[2]))) as opened:
        return np.asarray(opened.convert("RGB")).astype(int)


def near(pixels: npt.NDArray[np.int_], colour: str, tolerance: int = 60) -> npt.NDArray[np.bool_]:
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.asarray(np.abs(pixels - rgb).max(axis=2) < tolerance)


def test_every_measure_stands_in_its_table_as_it_was_given(made: MadePage) -> None:
    shown = page()
    for one in shown.measures.structures:
        for name, measure in one.measures.items():
            value = "" if measure.value is None else str(measure.value)
            row = f'data-segment="{one.segment.number}" data-measure="{name}" data-value="{value}"'
            assert made.html.count(row) == 1, row
            assert f'id="means-{one.segment.organ}-{name}"' in made.html


def test_sentences_name_each_tumour_then_each_kidney() -> None:
    shown = page()
    said = sentences(shown.measures, OF)
    # 6 x 20 x 20 voxels of 5 x 2 x 2 mm: 48 ml.
    assert said[0] == (
        "Tumour 1, left: largest axial diameter 40.0\u00a0mm, volume 48.00\u00a0ml (43.20 to 52.80), "
        "R.E.N.A.L. sum 4 to 9, PADUA sum 7."
    )
    assert [text.split(":")[0] for text in said] == ["Tumour 1, left", "Tumour 2, right", "Right kidney", "Left kidney"]


def test_a_value_its_interval_or_why_it_is_withheld() -> None:
    axial = OF["tumor"]["axial_mm"]
    assert told(Measure(34.0, 31.0, 37.24), axial) == "34.0\u00a0mm (31.0 to 37.2)"
    assert told(Measure(None, 34.0), axial) == "at least 34.0\u00a0mm"
    assert told(Measure(3, 3, 3), OF["tumor"]["renal_n"]) == "3"
    assert told(Measure("possible"), OF["tumor"]["renal_h"]) == "possible"
    assert told(Measure(None, why="cut"), axial) == ""
    assert interval(Measure(None, None, 7), None) == "at most 7"


def test_nothing_from_a_file_becomes_markup_and_only_known_scripts_run(made: MadePage) -> None:
    assert EVIL not in made.html
    assert "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;{{ 7 * 7 }}" in made.html
    assert "&lt;b&gt;Doe" in made.html
    assert "border is &lt;b&gt;unsure&lt;/b&gt; &amp; wide" in made.html
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', made.html)
    assert policy is not None
    allowed = policy[1].replace("&#39;", "'")
    assert allowed.startswith("default-src 'none'; ")
    assert "unsafe-eval" not in allowed
    assert not re.search(r"https?:|\*", allowed)
    scripts = re.findall(r"<script>(.*?)</script>", made.html, re.DOTALL)
    assert scripts
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in allowed
    assert not re.search(r'(?:src|href|action|poster)="(?!data:|#)', made.html)


def test_a_page_bears_no_name_unless_it_is_given_one(made: MadePage, nothing: MadePage) -> None:
    assert "<dt>Name</dt><dd>&lt;b&gt;Doe" in made.html
    assert '<dl class="who">' not in nothing.html
    assert "To save room" not in nothing.html


def test_an_empty_mask_is_said_to_be_one(nothing: MadePage) -> None:
    html = nothing.html
    assert "No kidney was found: the mask is empty." in html
    assert "Not checked: no flags came with this mask" in html
    assert "<table>" not in html
    assert 'id="three-d"' not in html


def test_tumours_without_a_kidney_are_doubted() -> None:
    array = labels()
    array[array == 1] = 0
    shown = page(array)
    assert "mask is doubtful" in sentences(shown.measures, OF)[-1]


def test_anterior_is_on_the_left_of_the_sagittal_plane_and_superior_up() -> None:
    array = np.zeros((10, 20, 30), np.uint8)
    array[8, 3, 25] = 1
    volume = Volume(array, Geometry(array.shape, (3.0, 1.0, 2.0)))
    view = display_slice(volume, "sagittal", (0, 0, 25), Box.of_shape(array.shape))
    assert np.argwhere(view.pixels).tolist() == [[1, 3]]
    assert (view.sides, view.pixel_mm, view.index, view.count) == ("APSI", (3.0, 1.0), 25, 30)


def test_key_slices_lie_on_the_diameter_which_is_drawn_between_its_ends() -> None:
    numbered, segments = divide(labels(), GRID, 20.0)
    shown = key_slices(image(labels()), numbered, measured(segments).structures, segments)
    assert [one.title for one in shown] == ["Tumour 1 (left)", "Tumour 2 (right)"]
    axial = shown[0].pictures[0]
    assert axial.alt == "Axial slice 15 of 30: Tumour 1 (left), largest axial diameter 40 mm"
    # The view's columns fill 600 px; the line goes from x 104.5 to 124.5 on row 50.
    box = choose_box([numbered], GRID)
    per_voxel, first = 600 / box.shape_zyx[2], box.start_zyx[2]
    white = near(pixels_of(axial), "#FFFFFF", 40)
    row = round((50.5 - box.start_zyx[1]) * per_voxel)
    columns = np.flatnonzero(white[row - 1 : row + 2].any(axis=0))
    columns = columns[(columns > 300) & (columns < 580)]
    assert columns.min() == pytest.approx((105 - first) * per_voxel, abs=5)
    assert columns.max() == pytest.approx((125 - first) * per_voxel, abs=5)
    tumor = np.argwhere(near(pixels_of(axial), TUMOR_COLOUR))
    assert tumor[:, 1].mean() > 300  # the patient's left, on the viewer's right


def test_a_place_is_a_voxel_of_the_finding() -> None:
    mask = np.zeros((3, 9, 9), bool)
    mask[1, 1:8, 1:8] = True
    mask[1, 2:7, 2:8] = False  # a crescent, whose middle is outside
    z, y, x = place_of(mask, Geometry(mask.shape, (1.0, 1.0, 1.0)), None)
    assert mask[z, y, x]


def test_in_the_round_the_left_tumour_is_right_from_the_front() -> None:
    array = labels()
    array[18:22, 60:70, 20:30] = 1  # the other one
    numbered, segments = divide(array, GRID, 20.0)
    drawn = reliefs(numbered, segments, GRID.spacing_mm_zyx)
    for way, is_right in (("front", True), ("back", False)):
        picture = drawn[way].astype(int)  # type: ignore[index]
        columns = np.nonzero((picture[..., 0] > 1.6 * picture[..., 2]) & (picture[..., 0] > 60))[1]
        assert len(columns) > 200
        assert (columns.mean() > picture.shape[1] / 2) == is_right
    assert reliefs(np.zeros_like(numbered), [], GRID.spacing_mm_zyx) == {}


def test_from_behind_is_the_mirror_image_of_the_front() -> None:
    array = np.zeros(SHAPE, np.uint8)
    array[5:25, 40:60, 30:50] = 1
    array[5:10, 40:60, 50:80] = 1  # an L
    numbered, segments = divide(array, GRID, 20.0)
    drawn = reliefs(numbered, segments, GRID.spacing_mm_zyx)
    front, back = ((drawn[way][..., 2] > 1.5 * drawn[way][..., 0].astype(int)) for way in ("front", "back"))
    assert front.sum() > 20_000
    assert (front != back[:, ::-1]).mean() < 0.01


def test_what_is_packed_is_the_scan_to_a_step_and_its_labels_exactly() -> None:
    numbered, _ = divide(labels(), GRID, 20.0)
    scan = image(labels())
    whole = pack(scan, numbered)
    shape = whole.grid.shape_zyx
    box = Box(whole.start_zyx, tuple(np.add(whole.start_zyx, shape)))
    shown = HU_LOW + HU_STEP * np.frombuffer(unpacked(whole.voxels), np.uint8).reshape(shape)
    assert np.abs(shown - scan.array[box.to_slices()]).max() <= HU_STEP / 2
    assert (np.frombuffer(unpacked(whole.labels), np.uint8).reshape(shape) == numbered[box.to_slices()]).all()
    thin = pack(scan, numbered, most_bytes=30_000)
    assert max(thin.step_zyx) > 1
    assert thin.grid.spacing_mm_zyx == tuple(np.multiply(thin.step_zyx, GRID.spacing_mm_zyx))
    kept = numbered[box.to_slices()][tuple(slice(None, None, n) for n in thin.step_zyx)]
    assert (np.frombuffer(unpacked(thin.labels), np.uint8).reshape(thin.grid.shape_zyx) == kept).all()
    assert len(base64.b64decode(thin.voxels)) <= 30_000


def test_a_page_too_large_is_thinned_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bisc.report.patient.page.MOST_BYTES", 1)
    monkeypatch.setattr("bisc.report.patient.page.VOLUME_BYTES", 30_000)
    html = case_page(page(np.zeros(SHAPE, np.uint8))).html
    assert re.search(r"To save room one \w+ in \d", html)


def test_surfaces_are_packed_in_lps_mm_or_not_at_all() -> None:
    numbered, segments = divide(labels(), GRID, 20.0)
    packed = pack_surfaces(numbered, segments, GRID)
    assert packed is not None
    for one, surface in zip(segments, packed, strict=True):
        points = np.frombuffer(unpacked(surface.points), "<f4").reshape(-1, 3).astype(float)
        a, b, c = (points[np.frombuffer(unpacked(surface.triangles), "<u4").reshape(-1, 3)[:, k]] for k in range(3))
        assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6000 == pytest.approx(one.volume_ml, rel=0.01)
        middle = GRID.index_to_physical(np.argwhere(numbered == one.number)).mean(axis=0)
        assert np.abs(points.mean(axis=0) - middle).max() < 8
    assert pack_surfaces(numbered, segments, GRID, most_bytes=1000) is None


def test_colours_go_round() -> None:
    ranks = [colour_of(Segment(k, "tumor", "left", k, 1.0)) for k in range(1, 8)]
    assert ranks == [*TUMOR_COLOURS, *TUMOR_COLOURS[:2]]
    assert colour_of(Segment(1, "kidney", "left", 0, 150.0)) == KIDNEY_COLOUR


def test_the_bundle_is_the_pinned_one_or_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(niivue, "BUNDLE", tmp_path / "niivue.umd.js")
    assert niivue.bundle() is None
    niivue.BUNDLE.write_text("window.location = 'http://elsewhere'")
    assert niivue.bundle() is None
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(b"another archive"))
    with pytest.raises(WorkError, match="not the file that was pinned"):
        niivue.fetch()
    one = labels()
    one[:, :, 70:] = 0
    one[one == 2] = 0
    html = case_page(page(one)).html
    assert "made without the 3-D viewer" in html
    assert 'id="three-d-canvas"' not in html


def test_the_index_has_failures_first_then_red_before_green() -> None:
    rows = [
        IndexRow("d", "ok", "green", ("Tumour 1, left: 34.0 mm",), 300.0, 12.0, page="d_report.html"),
        IndexRow("a b", "ok", "red", page="a b_report.html"),
        IndexRow(EVIL, "failed", reason="<i>damaged</i>"),
        IndexRow("c", "no_kidney", None, page="c_report.html"),
        IndexRow("b", "one_kidney", "amber", page="b_report.html"),
    ]
    html = index_page(rows)
    heads = re.findall(r'<th scope="row" data-sort="([^"]*)"', html)
    assert [head[0] for head in heads] == ["&", "a", "b", "c", "d"]
    assert 'href="a%20b_report.html"' in html
    assert EVIL not in html
    assert "&lt;i&gt;damaged" in html
    assert "12.0" in html
