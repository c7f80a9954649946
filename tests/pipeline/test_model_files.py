"""Model files: what is in them, that they are whole, that they predict what the training does, here and elsewhere."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

import bisc
from benchmarks.by_intensity import write_results
from bisc.cli import export, model
from bisc.core.errors import InputError
from bisc.inference.record import ModelRecord
from bisc.network import SCUNet
from bisc.network.checkpoint import load_checkpoint, save_checkpoint
from bisc.network.weights import from_safetensors, to_safetensors
from bisc.pipeline.model_files import export_model, import_model, verify_model
from tests.robustness.hostile_kinds import run_command, scan
from tests.support.sealing import members_of
from tests.support.training_fixtures import use_one_thread

use_one_thread()
NO_NETWORK = """
import socket

def refuse(*_, **__):
    raise RuntimeError("the network was asked for")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RESULTS/ByIntensity, whose weights tell fat, kidney and tumour by HU; offsets as a validation fits them."""
    folder = write_results(tmp_path_factory.mktemp("home") / "results" / "ByIntensity", base_features=2)
    plan = json.loads((folder / "plan.json").read_text())
    plan |= {"target_spacing_mm_zyx": [5.0, 4.0, 4.0], "rough_in_plane_px": 64}  # a coarse grid will do
    plan["roi"]["sides_px"] = [32, 48]
    (folder / "plan.json").write_text(json.dumps(plan))
    for stage in ("rough", "fine"):
        path = folder / stage / "fold_0" / "checkpoint_last.pt"
        checkpoint = load_checkpoint(path)
        checkpoint.plan, checkpoint.settings["patch_size_zyx"] = plan, [16, 64, 64]
        checkpoint.offsets, checkpoint.step = [0.0, 0.1, -1 / 3], 7
        checkpoint.optimizer = {"state": torch.ones(3)}
        save_checkpoint(path, checkpoint)
    return folder


@pytest.fixture(scope="module")
def small(results: Path) -> Path:
    """A small file: networks of one feature."""
    folder = shutil.copytree(results, results.parents[1] / "small")
    network = SCUNet(1, "instance", "off").state_dict()
    for path in folder.glob("*/fold_0/checkpoint_last.pt"):
        checkpoint = load_checkpoint(path)
        checkpoint.network = network
        checkpoint.settings |= {"base_features": 1, "norm": "instance", "edges": "off"}
        save_checkpoint(path, checkpoint)
    export_model(folder, None, folder / "model.zip")
    return folder / "model.zip"


@pytest.fixture(scope="module")
def packed(results: Path) -> Path:
    path = results.parent / "model.zip"
    export_model(results, None, path, licence="CC-BY-4.0", notes=["made by | hand"])
    return path


def record_of(path: Path) -> ModelRecord:
    return msgspec.json.decode(members_of(path)["model.json"], type=ModelRecord)


def masks(source: Path, model_at: list[str], out: Path, home: Path) -> bytes:
    """The mask's file, as bisc_predict writes it."""
    brief = ["--device", "cpu", "--precision", "fp32"]
    run = run_command("predict", ["-i", source, "-o", out, *model_at, *brief], home)
    assert (run.status, run.err) == (0, [])
    (mask,) = out.glob("*.nii.gz")
    return mask.read_bytes()


def test_the_file_says_what_it_holds(packed: Path, results: Path) -> None:
    """Members, settings, offsets to the last bit, no optimiser; the same training gives the same bytes."""
    members = members_of(packed)
    assert list(members) == ["model.json", "MODEL_CARD.md", "rough/fold_0.safetensors", "fine/fold_0.safetensors"]
    record = record_of(packed)
    assert [(n.stage, n.fold, n.base_features, n.norm, n.steps) for n in record.networks] == [
        ("rough", 0, 2, "batch", 7),
        ("fine", 0, 2, "batch", 7),
    ]
    assert record.networks[1].offsets == [0.0, 0.1, -1 / 3]
    assert (record.licence, record.notes, record.validation, record.tried_on) == (
        "CC-BY-4.0",
        ["made by | hand"],
        [],
        [],
    )
    assert (record.training.dataset, record.training.n_cases) == ("ByIntensity", 1)
    assert (record.training.n_simulated, record.training.spacing_mm_zyx) == (None, None)
    assert all(len(members[n.file]) == n.n_bytes for n in record.networks)
    assert b"optim" not in packed.read_bytes()
    again = packed.with_name("again.zip")
    export_model(results, None, again, licence="CC-BY-4.0", notes=["made by | hand"])
    assert again.read_bytes() == packed.read_bytes()


def test_the_card_says_what_is_known_and_what_is_not(packed: Path) -> None:
    card = members_of(packed)["MODEL_CARD.md"].decode()
    for text in (
        "CC-BY-4.0",
        "Research use, not a medical device.",
        "Nothing that this file knows of",
        "made by \\| hand",
    ):
        assert text in card
    assert "real or simulated: not known" in card
    assert "fine stage's spacing | 5 x 4 x 4 mm (z, y, x)" in card


def test_the_commands_name_is_the_older_ones_too(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bisc_export and bisc_model export write the same bytes."""
    monkeypatch.setenv("BISC_RESULTS", str(results.parent))
    assert export.main(["-o", str(tmp_path / "a.zip"), "-f", "0"]) == 0
    assert model.main(["export", "-o", str(tmp_path / "b.zip"), "-d", "ByIntensity"]) == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_masks_are_the_trainings_to_the_byte(packed: Path, results: Path, tmp_path: Path) -> None:
    """From the results folder, the file, the import, and the Python API."""
    source = scan(tmp_path / "ct.nii.gz")
    before = masks(source, ["-d", str(results)], tmp_path / "before", tmp_path)
    assert masks(source, ["-m", str(packed)], tmp_path / "file", tmp_path) == before
    folder, is_new = import_model(packed, None, tmp_path / "bisc_data" / "results")
    assert (folder.name, is_new) == ("ByIntensity", True)
    assert masks(source, [], tmp_path / "imported", tmp_path) == before
    labels = bisc.load_model(folder, device="cpu", precision="fp32").segment(source).labels
    assert set(np.unique(labels)) == {0, 1, 2}


def test_an_import_is_done_once_and_over_nothing(packed: Path, tmp_path: Path) -> None:
    """Again: nothing happens. What a killed run left is cleared; another file of the name stays."""
    root = tmp_path / "results"
    (root / "Mine").mkdir(parents=True)
    folder, _ = import_model(packed, "Mine", root)
    stamp = (folder / "model.zip").stat().st_mtime_ns
    assert import_model(packed, "Mine", root) == (folder, False)
    assert (folder / "model.zip").stat().st_mtime_ns == stamp
    assert [p.name for p in folder.iterdir()] == ["model.zip"]
    (root / "Other").mkdir()
    (root / "Other" / "plan.json").write_text("{}")
    with pytest.raises(InputError, match="holds a model trained here"):
        import_model(packed, "Other", root)


def places(path: Path) -> list[int]:
    """Where bytes are turned over: headers, names, directory, comment, digest: all; of members' data a sample."""
    chance = random.Random(0)
    size, found, at = path.stat().st_size, [], 0
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            begin = info.header_offset + 30 + len(info.filename)
            found += [*range(at, begin), *(begin + chance.randrange(info.file_size) for _ in range(20))]
            at = begin + info.file_size
    return [*found, *range(at, size)]


def test_verify_finds_one_changed_byte_anywhere(small: Path, tmp_path: Path) -> None:
    """Nor is it loaded; the command ends in one line and exit status 2."""
    raw, path = small.read_bytes(), tmp_path / "model.zip"
    assert verify_model(small).record == record_of(small)
    where = places(small)
    assert len(where) > 600
    for number, at in enumerate(where):
        spoilt = bytearray(raw)
        spoilt[at] ^= 1 << number % 8
        path.write_bytes(spoilt)
        with pytest.raises(InputError):
            verify_model(path)
    for at in where[:: len(where) // 12]:
        spoilt = bytearray(raw)
        spoilt[at] ^= 0xFF
        path.write_bytes(spoilt)
        for argv in (["verify", path], ["info", path], ["import", path]):
            run = run_command("model", argv, tmp_path)
            assert (run.status, len(run.err), run.out) == (2, 1, ""), (at, run)
    with pytest.raises(InputError):
        bisc.load_model(path, device="cpu")
    assert not (tmp_path / "bisc_data").exists()


@pytest.mark.long
def test_verify_finds_every_changed_byte(small: Path, tmp_path: Path) -> None:
    """All of them, every byte of the file."""
    raw, path = small.read_bytes(), tmp_path / "model.zip"
    for at in range(len(raw)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :])
        with pytest.raises(InputError):
            verify_model(path)


def test_verify_and_info_say_what_is_there(packed: Path, tmp_path: Path) -> None:
    """verify's last line is what sha256sum prints; info as JSON has all of model.json."""
    done = run_command("model", ["verify", packed], tmp_path)
    digest = subprocess.run(["sha256sum", packed.name], cwd=packed.parent, capture_output=True, text=True, check=True)
    assert (done.status, done.err, done.out.splitlines()[-1]) == (0, [], digest.stdout.strip())
    told = run_command("model", ["info", packed], tmp_path)
    assert (told.status, told.err) == (0, [])
    for text in ("fold 0: 2 base features, batch norm", "CC-BY-4.0", digest.stdout.split()[0], "note: made by | hand"):
        assert text in told.out
    about = json.loads(run_command("model", ["info", packed, "--json"], tmp_path).out)
    assert about["model"] == json.loads(members_of(packed)["model.json"])
    assert (about["sha256"], about["checksums"]) == (digest.stdout.split()[0], True)


def test_an_archive_of_the_old_form_predicts_and_has_no_checksums(results: Path, packed: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.zip"
    with zipfile.ZipFile(old, "w") as archive:
        archive.write(results / "plan.json", "plan.json")
        for stage in ("rough", "fine"):
            name = f"{stage}/fold_0/checkpoint_last.pt"
            archive.write(results / name, name)
    source = scan(tmp_path / "ct.nii.gz")
    there = masks(source, ["-m", str(packed)], tmp_path / "new", tmp_path)
    assert masks(source, ["-m", str(old)], tmp_path / "old", tmp_path) == there
    told = run_command("model", ["info", old], tmp_path)
    assert (told.status, "carries no checksums" in told.out) == (0, True)
    about = json.loads(run_command("model", ["info", old, "--json"], tmp_path).out)
    assert (about["checksums"], about["model"], about["folds"]) == (False, None, {"rough": [0], "fine": [0]})
    with pytest.raises(InputError, match="carries no checksums"):
        import_model(old, None, tmp_path / "results")


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_weights_come_back_to_the_bit(norm: str) -> None:
    """Of every kind that a network holds; the same weights give the same bytes."""
    network = SCUNet(1, norm, "heads").state_dict()  # type: ignore[arg-type]
    data = to_safetensors(network)
    assert data == to_safetensors(dict(reversed(network.items())))
    found = from_safetensors(data, "weights")
    assert found.keys() == network.keys()
    assert all(torch.equal(found[key], value) and found[key].dtype == value.dtype for key, value in network.items())
    with pytest.raises(ValueError, match="float16"):
        to_safetensors({"a": torch.zeros(1, dtype=torch.float16)})


def alone(command: list[str]) -> list[str]:
    """In a network of its own with no way out, where the system allows that."""
    prefix = ["unshare", "-rn"]
    able = (
        shutil.which("unshare") and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    )
    return [*prefix, *command] if able else command


def test_on_a_bare_machine_without_network_an_import_predicts(packed: Path, results: Path, tmp_path: Path) -> None:
    """Another home, a process of its own whose sockets refuse, the same mask to the byte."""
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "sitecustomize.py").write_text(NO_NETWORK)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("BISC_")}
    path = os.pathsep.join([str(tmp_path / "hooks"), *filter(None, [clean.get("PYTHONPATH")])])
    env = {**clean, "PYTHONPATH": path, "BISC_HOME": str(tmp_path / "bare")}
    source = scan(tmp_path / "ct.nii.gz")
    probe = "import socket; socket.create_connection(('127.0.0.1', 9))"
    asked = subprocess.run([sys.executable, "-c", probe], env=env, capture_output=True, text=True, check=False)
    assert "the network was asked for" in asked.stderr
    predict = ["-i", str(source), "-o", str(tmp_path / "out"), "--device", "cpu", "--precision", "fp32"]
    both = f"model.main(['import', {str(packed)!r}]) or predict.main({predict!r})"
    typed = alone([sys.executable, "-c", f"from bisc.cli import model, predict; raise SystemExit({both})"])
    done = subprocess.run(typed, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    (mask,) = (tmp_path / "out").glob("*.nii.gz")
    assert mask.read_bytes() == masks(source, ["-d", str(results)], tmp_path / "here", tmp_path)
