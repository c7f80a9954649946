"""The same commands give the same bytes: twice, and whatever the number of workers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from bisc.cli import evaluate, export, plan_and_preprocess, predict, simulate, train
from bisc.core.errors import InputError
from bisc.inference import signs as excess
from bisc.network.device import choose_device
from bisc.trainers import loop
from bisc.trainers.presets import PRESETS
from tests.support.training_fixtures import NAME, TINY, use_one_thread, write_raw

use_one_thread()


@pytest.fixture(autouse=True)
def chance_again() -> Iterator[None]:
    """--deterministic holds for a process: give the other tests theirs back."""
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / NAME, n=5)


def run_everything(
    home: Path, raw: Path, monkeypatch: pytest.MonkeyPatch, workers: str, loaders: str
) -> dict[str, str]:
    """Every command but the demo, into `home`; a digest for each file that is there at the end."""
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setattr(loop, "VALIDATION_BATCHES", 2)
    for bound in ("MOST_FOREGROUND_ML", "MOST_ROI_ML"):  # a network of two steps marks what no patient has
        monkeypatch.setattr(excess, bound, float("inf"))
    for part in ("PREPROCESSED", "RESULTS"):
        monkeypatch.setenv(f"BISC_{part}", str(home / part.lower()))
    monkeypatch.chdir(home)
    brief = ["--preset", "tiny", "--epochs", "2", "--iterations", "2", "--deterministic", "--workers", loaders]
    assert plan_and_preprocess.main(["-d", str(raw), "-np", workers]) == 0
    assert train.main(["rough", "0", *brief]) == 0
    assert train.main(["fine", "0", *brief]) == 0
    scan = str(raw / "case_00001")
    assert predict.main(["-i", scan, "-o", "out", "--deterministic", "--save-probabilities", "--save-rough"]) == 0
    assert evaluate.main(["-r", str(raw), "-p", str(raw), "-o", "pairs.csv", "-np", workers]) == 0
    assert evaluate.main([]) == 0
    assert export.main(["-o", "model.zip"]) == 0
    assert simulate.main(["-o", "painted", "-n", "2", "--size", "48", "48", "24", "-np", workers, "--seed", "3"]) == 0
    files = sorted(path for path in home.rglob("*") if path.is_file())
    return {path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.long
def test_two_runs_of_everything_give_the_same_bytes(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """-np 1 and no loader process against -np 2 and one: not one file differs, pictures and archives among them."""
    homes = [tmp_path / name for name in ("one", "two")]
    for home in homes:
        home.mkdir()
    first = run_everything(homes[0], raw, monkeypatch, "1", "0")
    second = run_everything(homes[1], raw, monkeypatch, "2", "1")
    assert [name for name in first if first[name] != second.get(name)] == []
    assert first.keys() == second.keys()
    kinds = {Path(name).suffix for name in first}
    assert {".json", ".npy", ".pt", ".csv", ".png", ".gz", ".npz", ".zip", ".txt"} <= kinds
    assert pd.read_csv(homes[0] / "out" / "predictions.csv")["seconds"].isna().all()
    log = pd.read_csv(next(homes[0].glob("results/*/fine/fold_0/log.csv")))
    assert log[["step_s", "wait_s", "validation_s"]].isna().all().all()
    assert log["train_loss"].notna().all()


def test_the_seed_decides_the_weights(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same one gives the same checkpoint and log, another one another checkpoint."""
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setattr(loop, "VALIDATION_BATCHES", 2)
    monkeypatch.setenv("BISC_PREPROCESSED", str(tmp_path / "preprocessed"))
    assert plan_and_preprocess.main(["-d", str(raw), "-np", "1"]) == 0
    found = []
    for i, seed in enumerate(("1", "1", "2")):
        monkeypatch.setenv("BISC_RESULTS", str(tmp_path / str(i)))
        brief = ["--preset", "tiny", "--epochs", "1", "--iterations", "1", "--deterministic", "--no-validation"]
        assert train.main(["rough", "0", *brief, "--seed", seed]) == 0
        fold = next((tmp_path / str(i)).glob("*/rough/fold_0"))
        found.append([(fold / name).read_bytes() for name in ("checkpoint_last.pt", "log.csv", "progress.png")])
    assert found[0] == found[1]
    assert found[1][0] != found[2][0]


def test_a_gpu_cannot_promise_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And without a device named, --deterministic takes the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="--deterministic: given with --device cuda; expected --device cpu"):
        choose_device("cuda", "fp32", deterministic=True)
    assert choose_device(None, "fp32", deterministic=True).kind == "cpu"
