"""Files in, masks out: what lands in the output folder, what a bad file does to the others, and how to go on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from torch import Tensor

from bisc.core.choices import Decision
from bisc.core.errors import BiscError, InputError
from bisc.imageio import read_image, write_image
from bisc.imageio.inputs import find_inputs
from bisc.pipeline.options import PredictionRow, PredictOptions
from bisc.pipeline.predict import predict_cases
from bisc.pipeline.rows import light_line, read_rows
from bisc.pipeline.segment import doubt_of
from tests.support.stub_model import OBLIQUE, ByIntensity, dice, kidneys, stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()
QUATERNION = 1e-7
"""NIfTI holds an oblique direction as a float32 quaternion: taken apart and put together again it moves by this much,
0.05 micrometres over 500 mm; straight directions stay exact."""
OPTIONS = PredictOptions("argmax")


def write_scan(path: Path, **how: object) -> None:
    """A patient of `kidneys` on the oblique, anisotropic, IPL-stored grid."""
    volume, _ = kidneys(OBLIQUE.canonical, **how)  # type: ignore[arg-type]
    write_image(path, volume.array, OBLIQUE)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients: one with two kidneys and a tumour, one with neither."""
    folder = tmp_path_factory.mktemp("scans")
    write_scan(folder / "both.nii.gz")
    write_scan(folder / "none.nii.gz", centres_x_mm=(), tumor_at=None)
    return folder


def check_header(mask: sitk.Image, image: sitk.Image) -> None:
    assert mask.GetSize() == image.GetSize()
    assert mask.GetSpacing() == image.GetSpacing()
    assert mask.GetOrigin() == image.GetOrigin()
    assert mask.GetDirection() == pytest.approx(image.GetDirection(), abs=QUATERNION)


def predict(
    source: Path, out: Path, options: PredictOptions = OPTIONS, network: ByIntensity | None = None
) -> tuple[dict[str, PredictionRow], list[BiscError]]:
    errors: list[BiscError] = []
    rows = predict_cases(find_inputs(source), stub_model(network), out, options, errors.append)
    return {row.case: row for row in rows}, errors


def test_more_kidney_than_any_patient_has_is_said(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mask is written and keeps its status; the row says that it cannot be right."""
    monkeypatch.setattr("bisc.pipeline.segment.MAX_KIDNEY_ML", 1.0)
    rows, errors = predict(scans, tmp_path)
    assert (errors, rows["both"].status, rows["none"].error) == ([], "ok", "")
    assert rows["both"].error.startswith(f"implausible: {rows['both'].kidney_ml:.0f} ml of kidney and tumour")
    assert (tmp_path / "both.nii.gz").exists()


def test_the_largest_real_kidneys_are_plausible() -> None:
    assert doubt_of(1962.4) == ""  # case_00114, the most of the 167 label maps
    assert "5540 ml" in doubt_of(5539.972)


def test_masks_rows_and_headers(scans: Path, tmp_path: Path) -> None:
    """The mask carries the image's header, the row its volumes, and finding nothing is a result."""
    rows, errors = predict(scans, tmp_path)
    assert errors == []
    assert {name: row.status for name, row in rows.items()} == {"both": "ok", "none": "no_kidney"}
    mask, image = (sitk.ReadImage(str(folder / "both.nii.gz")) for folder in (tmp_path, scans))
    assert mask.GetPixelID() == sitk.sitkUInt8
    check_header(mask, image)
    found = read_image(tmp_path / "both.nii.gz").volume.array
    _, labels = kidneys(OBLIQUE.canonical)
    assert dice(found > 0, labels > 0) > 0.95
    assert dice(found == 2, labels == 2) > 0.9
    ml = OBLIQUE.canonical.voxel_volume_ml
    assert rows["both"].kidney_ml == pytest.approx(np.count_nonzero(found) * ml, abs=1e-3)
    assert rows["both"].tumor_ml == pytest.approx(np.count_nonzero(found == 2) * ml, abs=1e-3)
    assert (rows["none"].kidney_ml, rows["none"].rois) == (0.0, "[]")
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "none.nii.gz"))).any()


def test_rois_in_the_table_hold_the_kidneys(scans: Path, tmp_path: Path) -> None:
    """First and last voxel (x, y, z) of each ROI, with the patient's side of its kidney (x grows to the left)."""
    rows, _ = predict(scans, tmp_path)
    rois = {roi["side"]: roi for roi in json.loads(rows["both"].rois)}
    assert rois.keys() == {"left", "right"}
    _, labels = kidneys(OBLIQUE.canonical)
    middle = labels.shape[2] // 2
    for side, half in (("right", slice(0, middle)), ("left", slice(middle, None))):
        at = np.argwhere(labels[:, :, half])[:, ::-1] + (half.start or 0, 0, 0)
        assert (at.min(axis=0) >= rois[side]["first_xyz"]).all()
        assert (at.max(axis=0) <= rois[side]["last_xyz"]).all()


def test_extras_are_written_when_asked(scans: Path, tmp_path: Path) -> None:
    """Softmax per ROI on the image's voxels and the rough mask; without the options, neither."""
    predict(scans, tmp_path / "plain")
    assert {p.name for p in (tmp_path / "plain").iterdir()} == {"both.nii.gz", "none.nii.gz", "predictions.csv"}
    predict(scans, tmp_path / "more", PredictOptions("argmax", save_probabilities=True, save_rough=True))
    mask = read_image(tmp_path / "more" / "both.nii.gz").volume.array
    with np.load(tmp_path / "more" / "both_probabilities.npz") as saved:
        for i in range(2):
            softmax, start = saved[f"roi_{i}"].astype(np.float32), saved[f"start_{i}"]
            assert np.abs(softmax.sum(axis=0) - 1).max() < 5e-3  # float16
            inside = tuple(slice(s, s + n) for s, n in zip(start, softmax.shape[1:], strict=True))
            assert (softmax.argmax(axis=0) == mask[inside]).mean() > 0.999
    rough = sitk.ReadImage(str(tmp_path / "more" / "rough" / "both.nii.gz"))
    check_header(rough, sitk.ReadImage(str(scans / "both.nii.gz")))
    predict(scans, tmp_path / "more")
    assert not any((tmp_path / "more" / name).exists() for name in ("both_probabilities.npz", "rough/both.nii.gz")), (
        "another model's may lie beside its mask, and --continue would keep them"
    )


def test_a_bad_file_is_a_failed_row_and_the_others_go_on(scans: Path, tmp_path: Path) -> None:
    """One line that names it; an older mask of that case does not stay beside the row that says 'failed'."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("both", "none"):
        (source / f"{name}.nii.gz").write_bytes((scans / f"{name}.nii.gz").read_bytes())
    predict(source, out)
    (source / "both.nii.gz").write_bytes((scans / "both.nii.gz").read_bytes()[:5000])
    rows, errors = predict(source, out)
    assert (rows["both"].status, rows["none"].status) == ("failed", "no_kidney")
    (error,) = errors
    assert str(error).startswith(str(source / "both.nii.gz"))
    assert rows["both"].error == str(error)
    assert "\n" not in rows["both"].error
    assert {p.name for p in out.iterdir()} == {"none.nii.gz", "predictions.csv"}


def test_a_defect_of_ours_fails_its_case_alone(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even an exception that nobody foresaw."""

    def broken(network: ByIntensity, image: object) -> None:
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr(ByIntensity, "forward_region", broken)
    rows, errors = predict(scans, tmp_path)
    assert {row.status for row in rows.values()} == {"failed"}
    assert [str(e).split(": ", 1)[1] for e in errors] == ["ZeroDivisionError: by hand"] * 2
    assert {p.name for p in tmp_path.iterdir()} == {"predictions.csv"}


def test_continue_keeps_what_is_done(scans: Path, tmp_path: Path) -> None:
    """A finished case is neither read nor written again; a missing mask or extra and a failed case are made anew."""
    network = ByIntensity()
    predict(scans, tmp_path, network=network)
    table = (tmp_path / "predictions.csv").read_text()
    again = PredictOptions("argmax", resume=True)
    network.seen.clear()
    predict(scans, tmp_path, again, network)
    assert network.seen == []
    assert (tmp_path / "predictions.csv").read_text() == table
    (tmp_path / "none.nii.gz").unlink()
    predict(scans, tmp_path, again, network)
    assert len(network.seen) > 0
    assert (tmp_path / "none.nii.gz").exists()
    network.seen.clear()
    predict(scans, tmp_path, PredictOptions("argmax", resume=True, save_rough=True), network)
    assert len(network.seen) > 0


def test_an_interrupted_run_keeps_its_finished_cases(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second case: the first one's mask and row stay, nothing half-written does."""
    whole = ByIntensity.forward_region

    def until_ctrl_c(network: ByIntensity, image: Tensor) -> Tensor:
        if (tmp_path / "predictions.csv").exists():
            raise KeyboardInterrupt
        return whole(network, image)

    monkeypatch.setattr(ByIntensity, "forward_region", until_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        predict(scans, tmp_path, replace(OPTIONS, at_a_time=1))
    assert {p.name for p in tmp_path.iterdir()} == {"both.nii.gz", "predictions.csv"}
    assert [row.case for row in read_rows(tmp_path / "predictions.csv")] == ["both"]


def test_out_must_not_be_in(scans: Path) -> None:
    """A prediction never overwrites its image."""
    before = (scans / "both.nii.gz").read_bytes()
    with pytest.raises(InputError, match="would be overwritten"):
        predict(scans, scans)
    assert (scans / "both.nii.gz").read_bytes() == before


def test_a_ct_of_the_users_is_no_place_for_a_mask(scans: Path, tmp_path: Path) -> None:
    """Another input, and any image that no row of predictions.csv calls a mask: refused before anything is computed."""
    write_scan(tmp_path / "in" / "both.mha")
    write_scan(tmp_path / "in" / "both.nii.gz")
    write_scan(tmp_path / "ct" / "both.nii.gz")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    for source, out in (("in", "in"), ("in/both.mha", "in"), ("in/both.mha", "ct")):
        with pytest.raises(InputError, match=r"would be overwritten|is there and is no mask"):
            predict(tmp_path / source, tmp_path / out)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_label_maps_that_no_run_made_stay(scans: Path, tmp_path: Path) -> None:
    """Reference masks are bytes as ours are: a folder with one is refused, also with --continue, and where another case
    has its row; that of a run that was killed before its row is not."""
    write_image(tmp_path / "both.nii.gz", np.ones(OBLIQUE.canonical.shape_zyx, np.uint8), OBLIQUE)
    before = (tmp_path / "both.nii.gz").read_bytes()
    for resume in (False, True):
        with pytest.raises(InputError, match=r"both.nii.gz: is there and is no mask that predictions.csv"):
            predict(scans, tmp_path, PredictOptions("argmax", resume=resume))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]
    predict(scans / "none.nii.gz", tmp_path)
    with pytest.raises(InputError, match=r"is no mask that predictions.csv"):
        predict(scans, tmp_path)
    (tmp_path / "both.nii.gz").unlink()
    predict(scans, tmp_path)
    (tmp_path / "predictions.csv").unlink()
    assert predict(scans, tmp_path)[0]["both"].status == "ok"


def test_another_patient_of_the_same_name_is_refused(scans: Path, tmp_path: Path) -> None:
    """Also with --continue, which would keep the other's mask; an input that only moved goes on."""
    for folder in ("a", "b"):
        write_scan(tmp_path / folder / "scan_1.nii.gz", tumor_at=None)
    predict(tmp_path / "a", tmp_path / "out")
    row = read_rows(tmp_path / "out" / "predictions.csv")[0]
    for resume in (False, True):
        with pytest.raises(InputError, match=r"b/scan_1.nii.gz: would be written over the mask of .*a/scan_1.nii.gz"):
            predict(tmp_path / "b", tmp_path / "out", PredictOptions("argmax", resume=resume))
    assert read_rows(tmp_path / "out" / "predictions.csv") == [row]
    (tmp_path / "a").rename(tmp_path / "c")
    assert predict(tmp_path / "c", tmp_path / "out")[0]["scan_1"].status == "ok"


@pytest.mark.parametrize("decision", ["argmax", "calibrated"])
def test_both_decisions_run_without_fitted_offsets(scans: Path, tmp_path: Path, decision: Decision) -> None:
    """A network without offsets is decided by its argmax under either rule."""
    predict(scans, tmp_path, PredictOptions(decision))
    predict(scans, tmp_path / "plain")
    assert (tmp_path / "both.nii.gz").read_bytes() == (tmp_path / "plain" / "both.nii.gz").read_bytes()


def test_the_table_has_lights_and_lines_say_what_is_not_green(scans: Path, tmp_path: Path) -> None:
    """Every number with its limit; a case without a kidney is amber; a failed one has no light."""
    (tmp_path / "in").mkdir()
    for name in ("both", "none"):
        (tmp_path / "in" / f"{name}.nii.gz").write_bytes((scans / f"{name}.nii.gz").read_bytes())
    (tmp_path / "in" / "bad.nii.gz").write_bytes(b"no image")
    rows, _ = predict(tmp_path / "in", tmp_path / "out")
    assert {name: row.light for name, row in rows.items()} | {"both": ""} == {"both": "", "none": "amber", "bad": ""}
    assert rows["both"].light in ("green", "amber", "red")
    assert rows["both"].risk is not None
    told = {flag["name"]: flag for flag in json.loads(rows["both"].flags)}
    assert told["kidneys"] == {"name": "kidneys", "value": 2.0, "limit": 0.5, "level": "green", "words": "in order"}
    assert (rows["bad"].risk, rows["bad"].flags, light_line(rows["bad"])) == (None, "", "")
    assert light_line(rows["none"]).startswith("none: amber: no kidney found")
    assert light_line(replace(rows["none"], light="green")) == ""
    assert light_line(replace(rows["none"], flags="{")) == "none: amber: "  # a table changed by hand
