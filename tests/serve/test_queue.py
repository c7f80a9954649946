"""The queue's folders: a study is a job when it is whole, and not before."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bisc.serve.node import Node
from bisc.serve.queue import TAKEN, Queue
from tests.support.dicom_peers import config_for, running, wait
from tests.support.stub_model import stub_model


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "queue", 1e12)


def entry_in(watch: Path) -> Path:
    study = watch / "study"
    study.mkdir(parents=True)
    for i in range(3):
        (study / f"{i}.dcm").write_bytes(b"slice")
    return study


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study in a watched folder that lies on another file system, as far as renaming shows."""
    watch, rename = tmp_path / "watch", Path.rename

    def across(self: Path, target: Path) -> Path:
        if watch in self.parents and watch not in target.parents:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", across)
    return entry_in(watch)


def in_ready(queue: Queue) -> list[list[str]]:
    return [sorted(p.name for p in job.rglob("*.dcm")) for job in queue.folders("ready")]


def test_what_is_taken_from_another_file_system(queue: Queue, far: Path) -> None:
    queue.take(far)
    assert in_ready(queue) == [["0.dcm", "1.dcm", "2.dcm"]]
    assert list(far.parent.iterdir()) == []


@pytest.mark.parametrize("killed", [False, True])
def test_what_is_copied_in_part_is_no_job(
    queue: Queue, far: Path, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither after a full disk nor after a kill; it is in the watched folder as before."""

    def cut_off(source: Path, target: Path, **_: object) -> None:
        target.mkdir()
        shutil.copy(source / "0.dcm", target)
        raise KeyboardInterrupt if killed else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copytree", cut_off)
    with pytest.raises(KeyboardInterrupt if killed else OSError):
        queue.take(far)
    queue.recover()
    assert in_ready(queue) == []
    assert list((queue.folder / "ready").iterdir()) == []
    assert len(list(far.iterdir())) == 3


def test_a_kill_amid_the_removal_leaves_no_study(queue: Queue, far: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bisc.serve.queue.remove", lambda path: (path / "0.dcm").unlink())
    queue.take(far)
    (left,) = far.parent.iterdir()
    assert left.name.startswith(TAKEN)
    node = Node(config_for(queue.folder.parent, watch=far.parent, quiet_s=0.0), stub_model())
    node._take_watched()
    node._take_watched()
    node.status.server.server_close()
    assert in_ready(queue) == [["0.dcm", "1.dcm", "2.dcm"]]
    assert list(far.parent.iterdir()) == []


def test_what_cannot_be_taken_waits_for_the_quiet_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once each time, not at every look."""
    entry_in(tmp_path / "watch")
    tried = []

    def take(_: Queue, path: Path) -> None:
        tried.append(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Queue, "take", take)
    node = Node(config_for(tmp_path, watch=tmp_path / "watch", quiet_s=0.2), stub_model())
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        node._take_watched()
        time.sleep(0.01)
    node.status.server.server_close()
    assert len(tried) == 2
    assert "cannot be moved: No space left on device" in capsys.readouterr().err


def came(queue: Queue, study: str, *instances: int) -> None:
    for i in instances:
        (queue.place_for(study) / f"{i}.dcm").touch()


def test_files_that_come_while_a_study_waits_join_it(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, done = threading.Event(), []

    def do(node: Node, job: Path) -> None:
        busy.wait(10)
        done.append(sorted(p.name for p in (job / "in").iterdir()))
        node.queue.move(job, "done")

    monkeypatch.setattr(Node, "_do", do)
    monkeypatch.setattr("bisc.serve.node.TICK_S", 0.02)
    came(queue, "1.2", 0)
    time.sleep(0.02)
    came(queue, "1.3", 0)
    with running(config_for(tmp_path, quiet_s=0.1)):
        wait(lambda: queue.folders("ready"))
        came(queue, "1.3", 1)
        busy.set()
        wait(lambda: len(done) == 2)
    assert done == [["0.dcm"], ["0.dcm", "1.dcm"]]


def test_a_part_of_a_study_is_known(queue: Queue) -> None:
    """By the objects that came before; a study that is sent again as a whole is none."""
    found, queue.began = [], 0.0
    for instances in ([0, 1], [2], [0, 1, 2], [0, 1, 2]):
        came(queue, "1.2", *instances)
        job = queue.complete(0.0)
        assert job is not None
        found.append(queue.came_before(job))
        queue.move(job, "done")
    assert found == [0, 2, 0, 0]


def test_used_bytes(tmp_path: Path) -> None:
    queue = Queue(tmp_path, 1000.0)
    (tmp_path / "ready" / "x").write_bytes(np.zeros(900, np.uint8).tobytes())
    assert queue.used_bytes() == 900
    assert (queue.has_room(100), queue.has_room(101)) == (True, False)
