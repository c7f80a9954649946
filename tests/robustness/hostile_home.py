"""A home with everything in it (raw, planned, trained, an image to predict), and ways to spoil one part of it."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from bisc.core.choices import STAGES
from bisc.network import SCUNet
from bisc.network.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bisc.planners.dataset import load_plan
from tests.robustness.hostile_datasets import SOUND, sound
from tests.robustness.hostile_kinds import run_command, scan, voxels
from tests.support.training_fixtures import STORED, patient

DATA = Path("bisc_data")
RESULTS = DATA / "results" / "Data"
PLANNED = DATA / "preprocessed" / "Data"
FINE = RESULTS / "fine" / "fold_0" / "checkpoint_last.pt"
ROUGH = RESULTS / "rough" / "fold_0" / "checkpoint_last.pt"
PREDICT = ("-i", "in", "-o", "out", "--device", "cpu", "--precision", "fp32")
CANARY = "canary"
Make = Callable[[Path], Sequence[object]]


def build_home(home: Path) -> Path:
    """Two training cases, their plan and caches, a cascade that finds nothing, its archive, and one scan to predict."""
    for i, case in enumerate(SOUND):
        sound(home / DATA / "raw" / "Data", case, i)
    scan(home / "in" / "sound.nii.gz")
    for case in SOUND:
        voxels(home / "masks" / f"{case}.nii.gz", patient(STORED.canonical)[1])
    assert run_command("plan_and_preprocess", ["-np", "1"], home).status == 0
    plan = load_plan(home / PLANNED)
    (home / RESULTS).mkdir(parents=True)
    shutil.copyfile(home / PLANNED / "plan.json", home / RESULTS / "plan.json")
    torch.manual_seed(0)
    network = SCUNet(2, "instance")
    with torch.no_grad():
        bias = network.region.classify.bias
        assert bias is not None
        bias.copy_(torch.tensor([100.0, 0.0, 0.0]))
    for stage in STAGES:
        settings = {"stage": stage, "base_features": 2, "norm": "instance", "patch_size_zyx": [16, 64, 64]}
        path = home / RESULTS / stage / "fold_0" / "checkpoint_last.pt"
        path.parent.mkdir(parents=True)
        as_json = json.loads((home / PLANNED / "plan.json").read_text())
        assert plan.dataset == as_json["dataset"]
        save_checkpoint(path, Checkpoint(settings, as_json, network.state_dict(), offsets=[0.0, 0.0, 0.0]))
    assert run_command("export", ["-o", "model.zip"], home).status == 0
    with zipfile.ZipFile(home / "old.zip", "w") as old:  # as bisc_export wrote them before there were model files
        old.write(home / RESULTS / "plan.json", "plan.json")
        for path in (ROUGH, FINE):
            old.write(home / path, path.relative_to(RESULTS).as_posix())
    return home


def given(argv: Sequence[object], *spoils: Callable[[Path], object]) -> Make:
    """Spoil the home, then run with these arguments."""

    def make(home: Path) -> Sequence[object]:
        for spoil in spoils:
            spoil(home)
        return argv

    return make


def changed(path: Path | str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda home: (home / path).write_bytes(change((home / path).read_bytes()))


def written(path: Path | str, data: bytes | str) -> Callable[[Path], object]:
    def spoil(home: Path) -> None:
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(data.encode() if isinstance(data, str) else data)

    return spoil


def removed(path: Path | str) -> Callable[[Path], object]:
    return lambda home: shutil.rmtree(home / path) if (home / path).is_dir() else (home / path).unlink()


def with_keys(path: Path | str, **keys: object) -> Callable[[Path], object]:
    """A JSON document with other or more keys."""
    return changed(path, lambda raw: json.dumps({**json.loads(raw), **keys}).encode())


def checkpoint(path: Path, change: Callable[[Checkpoint], object]) -> Callable[[Path], object]:
    def spoil(home: Path) -> None:
        loaded = load_checkpoint(home / path)
        change(loaded)
        save_checkpoint(home / path, loaded)

    return spoil


def with_weights(value: float) -> Callable[[Checkpoint], object]:
    def change(loaded: Checkpoint) -> None:
        loaded.network["region.classify.weight"][0, 0] = value

    return change


class Bomb:
    """Unpickled, it would make a folder."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (CANARY,)


def bomb(path: Path | str) -> Callable[[Path], object]:
    return written(path, pickle.dumps(Bomb()))


def archive(change: Callable[[dict[str, bytes]], object]) -> Callable[[Path], object]:
    """The archive of the old form with other members."""

    def spoil(home: Path) -> None:
        with zipfile.ZipFile(home / "old.zip") as source:
            members = {name: source.read(name) for name in source.namelist()}
        change(members)
        with zipfile.ZipFile(home / "old.zip", "w") as target:
            for name, data in members.items():
                target.writestr(name, data)

    return spoil


@contextmanager
def small_files(home: Path) -> Iterator[None]:
    """No file may grow past 100 bytes: as on a full disk, writes end early, those of C++ libraries too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def full_disk(part: str) -> Callable[[Path], AbstractContextManager[None]]:
    """Where the system brings files named so to the disk, there is no space left."""

    @contextmanager
    def around(home: Path) -> Iterator[None]:
        flush = os.fsync

        def refuse(number: int) -> None:
            if part in str(Path(f"/proc/self/fd/{number}").readlink()):
                raise OSError(28, "No space left on device")
            flush(number)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            yield

    return around


@contextmanager
def ordinary_user(home: Path) -> Iterator[None]:
    """The rights of a user whom permission bits bind; as root, those of user 65534, who is given the home."""
    if os.geteuid() != 0:
        yield
        return
    for folder, _, files in os.walk(home):
        for path in (Path(folder), *(Path(folder) / name for name in files)):
            os.chown(path, 65534, 65534, follow_symlinks=False)
    above = [p for p in home.parents if p.stat().st_uid == 0 and not p.stat().st_mode & 0o001]
    modes = [p.stat().st_mode for p in above]
    for p in above:
        p.chmod(p.stat().st_mode | 0o011)
    try:
        os.seteuid(65534)
    except PermissionError:
        pytest.skip("root may not become another user here")
    try:
        yield
    finally:
        os.seteuid(0)
        for p, mode in zip(above, modes, strict=True):
            p.chmod(mode & 0o7777)


def without_rights(path: Path | str, mode: int = 0) -> Callable[[Path], object]:
    return lambda home: (home / path).chmod(mode)
