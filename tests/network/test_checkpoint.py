"""Checkpoints: the same state gives the same bytes, and no file can do harm or end in a traceback."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bisc.core.errors import InputError
from bisc.network import SCUNet
from bisc.network.checkpoint import Checkpoint, load_checkpoint, plan_conflicts, save_checkpoint
from tests.support.training_fixtures import use_one_thread

use_one_thread()


def stepped(steps: int = 2) -> tuple[SCUNet, torch.optim.Adam]:
    """A network some Adam steps into a fixed training."""
    torch.manual_seed(0)
    network = SCUNet(2)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    step_on(network, optimizer, steps)
    return network, optimizer


def step_on(network: SCUNet, optimizer: torch.optim.Adam, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        sum(branch.square().mean() for branch in network(torch.ones(1, 1, 16, 8, 8).cumsum(2))).backward()
        optimizer.step()


def checkpoint_of(network: SCUNet, optimizer: torch.optim.Adam) -> Checkpoint:
    return Checkpoint(
        settings={"stage": "rough", "patch_size_zyx": [16, 32, 32], "learning_rate": 1e-3, "mirror_axes": (2,)},
        plan={"dataset": "rough", "target_spacing_mm_zyx": [3.0, 0.78, 0.78], "note": None},
        network=network.state_dict(),
        optimizer={"adam": optimizer.state_dict()},
        step=2,
        best=0.5,
        epoch_losses=[0.25, 0.125],
        rows=[{"epoch": 1.0, "score": 0.5}],
        offsets=[0.0, -1.0, 2.0],
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "checkpoint_last.pt"
    save_checkpoint(path, checkpoint_of(*stepped()))
    return path


def test_round_trip(saved: Path) -> None:
    """Everything comes back; tuples as lists."""
    network, optimizer = stepped()
    loaded, original = load_checkpoint(saved), checkpoint_of(network, optimizer)
    for key in ("plan", "step", "best", "epoch_losses", "rows", "offsets"):
        assert getattr(loaded, key) == getattr(original, key)
    assert loaded.settings == {**original.settings, "mirror_axes": [2]}
    assert list(loaded.network) == list(original.network)
    assert all(torch.equal(loaded.network[k], v) for k, v in original.network.items())
    fresh = SCUNet(2)
    fresh.load_state_dict(loaded.network)
    other = torch.optim.Adam(fresh.parameters())
    other.load_state_dict(loaded.optimizer["adam"])
    step_on(network, optimizer, 1)
    step_on(fresh, other, 1)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), fresh.parameters(), strict=True))


def test_the_same_state_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    """Grown twice in memory, under two file names."""
    save_checkpoint(tmp_path / "another_name.pt", checkpoint_of(*stepped()))
    assert (tmp_path / "another_name.pt").read_bytes() == saved.read_bytes()
    save_checkpoint(tmp_path / "later.pt", checkpoint_of(*stepped(3)))
    assert (tmp_path / "later.pt").read_bytes() != saved.read_bytes()


def test_loading_and_saving_changes_no_byte(saved: Path, tmp_path: Path) -> None:
    """Also after the state went through a network and an optimiser, and from channels-last tensors."""
    loaded = load_checkpoint(saved)
    save_checkpoint(tmp_path / "again.pt", loaded)
    assert (tmp_path / "again.pt").read_bytes() == saved.read_bytes()
    network = SCUNet(2).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    network.load_state_dict(loaded.network)
    optimizer = torch.optim.Adam(network.parameters())
    optimizer.load_state_dict(loaded.optimizer["adam"])
    loaded.network, loaded.optimizer = network.state_dict(), {"adam": optimizer.state_dict()}
    save_checkpoint(tmp_path / "again.pt", loaded)
    assert (tmp_path / "again.pt").read_bytes() == saved.read_bytes()


def test_a_view_is_saved_without_the_tensor_behind_it(tmp_path: Path) -> None:
    """One value of a large tensor takes the room of one value."""
    big = torch.zeros(1_000_000)
    save_checkpoint(tmp_path / "view.pt", Checkpoint({}, {}, {"one": big[:1]}))
    assert (tmp_path / "view.pt").stat().st_size < 10_000


class Malice:
    """Unpickling it touches a marker file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.marker,)


def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    """As a bare pickle and inside torch's own archive; the marker shows that it would have worked."""
    marker, path = tmp_path / "marker", tmp_path / "checkpoint_last.pt"
    content = {"format": 1, "settings": {}, "plan": {}, "network": Malice(marker)}
    archive = io.BytesIO()
    torch.save(content, archive)
    for data in (pickle.dumps(content, protocol=2), pickle.dumps(content), archive.getvalue()):
        path.write_bytes(data)
        with pytest.raises(InputError, match="no usable checkpoint"):
            load_checkpoint(path)
        assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()


def check_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 600


@settings(max_examples=40, deadline=None)
@given(part=st.floats(0.0, 0.999))
def test_a_truncated_file_is_one_line(saved: Path, part: float) -> None:
    """Wherever it was cut off."""
    data = saved.read_bytes()
    check_refused(saved.with_name("cut.pt"), data[: int(part * len(data))])


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=60), head=st.sampled_from([b"", b"\x80\x02", b"PK\x03\x04", b"\x80\x02}q\x00"]))
def test_foreign_bytes_are_one_line(saved: Path, data: bytes, head: bytes) -> None:
    """torch's unpickler answers them with a dozen kinds of exception and with warnings."""
    check_refused(saved.with_name("foreign.pt"), head + data)


def test_other_files_are_one_line(saved: Path, tmp_path: Path) -> None:
    """Texts, other archives, other pickles, other torch files, and checkpoints with other contents."""
    path = tmp_path / "file.pt"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("plan.json", "{}")
    for data in (b"", b"hello\n", b'{"format": 1}', archive.getvalue(), pickle.dumps({"format": 1})):
        check_refused(path, data)
    whole: dict[object, object] = {"format": 1, "settings": {}, "plan": {}, "network": {}}
    wrong: list[object] = [torch.zeros(3), [1], {"format": 2}, {**whole, "format": 99}, {"format": 1}]
    wrong += [{**whole, "more": 1}, {**whole, 1: 2}, {**whole, "network": [1]}, {**whole, "settings": None}]
    for content in wrong:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        check_refused(path, buffer.getvalue())
    with pytest.raises(InputError, match="no usable checkpoint"):
        load_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(InputError, match="no usable checkpoint"):
        load_checkpoint(tmp_path)
    with pytest.raises(InputError, match=r"model\.zip/rough"):
        load_checkpoint(io.BytesIO(b"x"), "model.zip/rough")


def test_numpy_floats_become_floats(tmp_path: Path) -> None:
    """A mean of numpy's is a float to Python, but weights_only=True would refuse to load it."""
    path = tmp_path / "checkpoint_last.pt"
    save_checkpoint(path, Checkpoint({}, {}, {}, best=np.float64(0.5), rows=[{"score": np.float64(0.25)}]))
    loaded = load_checkpoint(path)
    assert (type(loaded.best), loaded.best) == (float, 0.5)
    assert (type(loaded.rows[0]["score"]), loaded.rows[0]["score"]) == (float, 0.25)


@pytest.mark.parametrize("value", [np.zeros(2), np.int64(1), np.float32(1), {1, 2}, Path("x"), object()])
def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path, value: object) -> None:
    """A loud TypeError while there is still something to mend, and no file."""
    with pytest.raises(TypeError, match=type(value).__name__):
        save_checkpoint(tmp_path / "checkpoint_last.pt", Checkpoint({"key": [value]}, {}, {}))
    assert not list(tmp_path.iterdir())


def test_plan_conflicts_are_those_of_the_networks_input() -> None:
    """Another spacing is another image; another batch size, a note, or a list for a tuple is not."""
    plan = {"target_spacing_mm_zyx": [3.0, 0.78, 0.78], "rough_in_plane_px": 128, "intensity": {"mean_hu": 1.0}}
    checkpoint = Checkpoint({}, {**plan, "fine": {"batch_size": 8}}, {})
    same = {**plan, "target_spacing_mm_zyx": (3.0, 0.78, 0.78), "fine": {"batch_size": 2}}
    assert plan_conflicts(checkpoint, same) == ""
    other = {**plan, "target_spacing_mm_zyx": (5.0, 0.78, 0.78)}
    assert plan_conflicts(checkpoint, other) == "target_spacing_mm_zyx [3.0, 0.78, 0.78] (now (5.0, 0.78, 0.78))"
    assert plan_conflicts(checkpoint, {**plan, "intensity": {"mean_hu": 2.0}}).startswith("intensity")
