"""Names, archives and links lead nowhere: what is read and written stays in its folder."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from bisc.core.errors import InputError, one_line
from bisc.evaluation.pairs import read_case_list
from bisc.imageio import read_image, write_image
from bisc.imageio.dataset import RawCase, find_raw_dataset
from bisc.imageio.inputs import find_inputs
from bisc.inference.model import load_model
from bisc.network.checkpoint import load_checkpoint, save_checkpoint
from bisc.network.device import choose_device
from bisc.pipeline.options import PredictionRow
from bisc.pipeline.rows import read_rows, rows_csv
from bisc.planners.dataset import MeasuredCase, MeasureJob, load_plan, load_splits, measure_job
from bisc.planners.splits import Fold, Splits
from bisc.system.files import atomic_folder, write_text
from bisc.system.jsonfile import load_json, save_json
from bisc.system.paths import check_name, name_fault
from tests.robustness.fuzz_seeds import seed_files
from tests.support.grids import write_itk

BAD_NAMES = [
    *("../x", "a/b", "/etc/passwd", "a\\b", "..", ".", ".hidden", "", " ", " a", "a ", "a\nb", "a\0b", "a\x1b[2Jb"),
    *("con", "NUL.nii", "com1", "Aux.v2", "x" * 201, "ä" * 101, "a\udcffb", "\u202eabc"),
]
GOOD_NAMES = ["case_00000", "Müller, Jürgen 2", "左腎", "a..b", "x" * 200, "1.2.840.113619", "console", "com10", "-a"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leads_elsewhere_is_one_line(name: str, tmp_path: Path) -> None:
    """In splits.json, predictions.csv (both readers), and by itself."""
    with pytest.raises(InputError, match="the case name") as caught:
        check_name(name, "splits.json", "mend it")
    assert str(caught.value).isprintable()
    if "\udcff" in name:
        return  # no UTF-8 file can hold it
    save_json(tmp_path / "splits.json", Splits(schema_version=1, seed=1, folds=[Fold(train=["a"], val=["b", name])]))
    with pytest.raises(InputError, match=r"splits\.json: the case name"):
        load_splits(tmp_path)
    (tmp_path / "predictions.csv").write_text(rows_csv([PredictionRow(name, "ok", 1.0)]), encoding="utf-8", newline="")
    with pytest.raises(InputError, match=r"predictions\.csv: "):
        read_rows(tmp_path / "predictions.csv")
    if name:  # a row without a name is passed over there
        with pytest.raises(InputError, match=r"predictions\.csv: "):
            read_case_list(tmp_path / "predictions.csv")


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_names_of_any_language_are_fine(name: str, tmp_path: Path) -> None:
    assert name_fault(name) == ""
    save_json(tmp_path / "splits.json", Splits(schema_version=1, seed=1, folds=[Fold(train=[name], val=[name])]))
    assert load_splits(tmp_path).folds[0].val == [name]


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "con", " a", "a\x1bb", "ä" * 101])
def test_folders_and_files_of_bad_names(name: str, tmp_path: Path) -> None:
    """The case bears a fault, as input and in a data set, beside the others."""
    voxels = np.zeros((2, 3, 4), np.int16)
    for case in (name, "good"):
        (tmp_path / "raw" / case).mkdir(parents=True)
        write_itk(tmp_path / "raw" / case / "imaging.nii.gz", voxels)
        write_itk(tmp_path / "raw" / case / "segmentation.nii.gz", voxels)
    dataset = find_raw_dataset(tmp_path / "raw")
    assert [case.name for case in dataset.cases] == ["good"]
    assert ["the case name" in str(fault) for _, fault in dataset.faults] == [True]
    for source, faulty in ((tmp_path / "raw", [True, False]), (tmp_path / "raw" / name, [True])):
        cases = find_inputs(source)
        assert sorted(("the case name" in str(case.fault) for case in cases), reverse=True) == faulty
        for one in cases:  # its row of 'failed' must not end the run
            assert name_fault(one.name) == ""


def test_messages_do_not_reach_the_terminal_as_orders() -> None:
    """Escape sequences, other controls and half characters are shown, not sent."""
    assert one_line("a\x1b[2Jb \x07\u202e \udcff\n c") == r"a\x1b[2Jb \x07\u202e \udcff c"
    assert one_line("Müller 左") == "Müller 左"
    assert len(str(InputError("a" * 10**6, "b" * 10**6))) < 1500


def test_a_measurement_of_another_name_is_not_believed(tmp_path: Path) -> None:
    """Its name would go on into plan and splits."""
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:6, 2:6, 2:6] = 1
    path = write_itk(tmp_path / "labels.nii.gz", labels)
    job = MeasureJob(RawCase("case_1", None, path), tmp_path / "case_1.json", again=False)
    measure_job(job)
    known = load_json(job.record, MeasuredCase, "")
    save_json(job.record, replace(known, fingerprint=replace(known.fingerprint, name="../../x")))
    examined = measure_job(job)
    assert examined.fingerprint is not None
    assert examined.fingerprint.name == "case_1"


def repacked(**members: bytes | None) -> dict[str, bytes]:
    """The members of a sound model archive, some replaced (None: left out)."""
    with zipfile.ZipFile(io.BytesIO(seed_files("model.zip")["model.zip"])) as archive:
        found: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
    return {name: data for name, data in {**found, **members}.items() if data is not None}


def model_fault(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_model(path, None, choose_device("cpu", "fp32"))
    return str(caught.value)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a\\..\\x", "C:x", ".."])
def test_an_archive_with_members_outside_is_refused(tmp_path: Path, name: str) -> None:
    """Though nothing would be unpacked: it is not what bisc_export wrote."""
    path = tmp_path / "in" / "model.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in repacked(**{name: b"x"}).items():
            archive.writestr(member, data)
    assert "leads out of it" in model_fault(path)
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "model.zip"]


def test_links_doubles_and_odd_packings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in repacked().items():
            archive.writestr(member, data)
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert "a member is a link" in model_fault(path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
        for member, data in (*repacked().items(), ("plan.json", b"{}")):
            archive.writestr(member, data)
    assert "a member occurs twice" in model_fault(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for member, data in repacked().items():
            archive.writestr(member, data)
    assert "another method than deflate" in model_fault(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:  # packed again by hand: fine
        for member, data in repacked().items():
            archive.writestr(member, data)
    assert len(load_model(path, None, choose_device("cpu", "fp32")).fine) == 1


def test_archives_that_unpack_to_far_more_are_refused(tmp_path: Path) -> None:
    """A member of zeros beside the weights; in a checkpoint no member may be packed at all."""
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in repacked(**{"rough/fold_1/checkpoint_last.pt": bytes(10**8)}).items():
            archive.writestr(member, data)
    assert path.stat().st_size < 10**6
    assert "unpack to more than 10 times its size" in model_fault(path)
    weights = repacked()["rough/fold_0/checkpoint_last.pt"]
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(weights)) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, bytes(10**7) if member.endswith("data/0") else old.read(member))
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in repacked(**{"rough/fold_0/checkpoint_last.pt": packed.getvalue()}).items():
            archive.writestr(member, data)
    assert "its members are packed" in model_fault(path)


def test_a_checkpoint_with_two_pickles_is_refused(tmp_path: Path) -> None:
    """One could be looked through and the other loaded."""
    path = tmp_path / "checkpoint_last.pt"
    path.write_bytes(repacked()["fine/fold_0/checkpoint_last.pt"])
    load_checkpoint(path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data.pkl", archive.read("archive/data.pkl"))
    with pytest.raises(InputError, match="a member occurs twice"):
        load_checkpoint(path)
    path.write_bytes(repacked()["fine/fold_0/checkpoint_last.pt"])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", archive.read("archive/data.pkl"))
    with pytest.raises(InputError, match="2 pickles"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("target_spacing_mm_zyx", 0), 1e-9),
        (("target_spacing_mm_zyx", 1), -0.8),
        (("rough_in_plane_px",), 10**9),
        (("rough_in_plane_px",), 100),
        (("intensity", "std_hu"), 0.0),
        (("roi", "multiple_px"), 0),
        (("roi", "sides_px", 0), 10**9),
        (("fine", "patch_size_zyx", 2), 0),
        (("fine", "base_features"), 10**6),
        (("rough", "batch_size"), 0),
        (("schema_version",), 2),
    ],
)
def test_numbers_of_a_plan_have_limits(tmp_path: Path, keys: tuple[str | int, ...], value: float) -> None:
    """Named by their key, before a network or a grid of that size is made."""
    (tmp_path / "plan.json").write_bytes(seed_files("plan.json")["plan.json"])
    load_plan(tmp_path)
    document = json.loads((tmp_path / "plan.json").read_text())
    holder = document
    for key in keys[:-1]:
        holder = holder[key]
    holder[keys[-1]] = value
    (tmp_path / "plan.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=rf"plan\.json: .*{keys[0]}"):
        load_plan(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("base_features", 10**6),
        ("base_features", 0),
        ("base_features", "1"),
        ("norm", "none"),
        ("stage", "both"),
        ("patch_size_zyx", [10**9, 8, 8]),
        ("patch_size_zyx", [8, 8, 9]),
    ],
)
def test_settings_of_a_checkpoint_have_limits(tmp_path: Path, key: str, value: object) -> None:
    """A million features would be asked for before the weights are found not to fit."""
    weights = tmp_path / "checkpoint_last.pt"
    weights.write_bytes(repacked()["fine/fold_0/checkpoint_last.pt"])
    checkpoint = load_checkpoint(weights)
    checkpoint.settings[key] = value
    save_checkpoint(weights, checkpoint)
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for member, data in repacked(**{"fine/fold_0/checkpoint_last.pt": weights.read_bytes()}).items():
            archive.writestr(member, data)
    assert "weights do not fit their settings" in model_fault(tmp_path / "model.zip")


def test_values_without_end_are_refused(tmp_path: Path) -> None:
    """A list within itself, and one of 10 ** 10 values made of 10 lists: comparing them would never end."""
    endless: list[object] = []
    endless.append(endless)
    many: list[object] = [1]
    for _ in range(10):
        many = [many] * 10
    for value, told in ((endless, "nested more than 12 deep"), (many, "more than 1000000 values")):
        torch.save({"format": 1, "settings": {"a": value}, "plan": {}, "network": {}}, tmp_path / "a.pt")
        with pytest.raises(InputError, match=told):
            load_checkpoint(tmp_path / "a.pt")


def test_large_and_deep_json_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand brackets; a file above the limit is not even read whole."""
    path = tmp_path / "plan.json"
    for text in ("[" * 10**5, '{"reasons":' * 10**5, '{"reasons": {"a": ' + "[" * 10**5):
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            load_plan(tmp_path)
        assert len(str(caught.value)) < 1500
    monkeypatch.setattr("bisc.system.jsonfile.MAX_JSON_BYTES", 1000)
    path.write_bytes(seed_files("plan.json")["plan.json"])
    with pytest.raises(InputError, match="more than 1000 bytes"):
        load_plan(tmp_path)


def test_a_link_in_the_place_of_an_output_is_replaced_not_followed(tmp_path: Path) -> None:
    """A mask, a table and a cache folder."""
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    out.mkdir()
    (outside / "precious").write_text("precious")
    image = read_image(write_itk(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.int16)))
    for name in ("case.nii.gz", "predictions.csv"):
        (out / name).symlink_to(outside / "precious")
    write_image(out / "case.nii.gz", image.volume.array, image.native)
    write_text(out / "predictions.csv", "case\n")
    (out / "folder").symlink_to(outside, target_is_directory=True)
    with atomic_folder(out / "folder") as scratch:
        (scratch / "new").write_text("new")
    assert not (out / "folder").is_symlink()
    assert sorted(p.name for p in out.iterdir()) == ["case.nii.gz", "folder", "predictions.csv"]
    assert not (out / "case.nii.gz").is_symlink()
    assert (out / "predictions.csv").read_text() == "case\n"
    assert [p.name for p in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_text() == "precious"
