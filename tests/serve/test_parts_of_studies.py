"""What a node makes of a study that came in part, twice, or has nowhere to be kept."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE

from bisc.pipeline.options import TABLE
from bisc.pipeline.rows import read_rows
from bisc.serve.node import Node
from tests.support.ct_series import write_ct
from tests.support.dicom_peers import HERE, config_for, patient, running, send, wait
from tests.support.training_fixtures import use_one_thread

use_one_thread()


def test_a_study_that_was_cut_off_waits_for_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent again it is whole; with no rest to come it is predicted in the end, and its row says what it may be. So do
    all studies of the association, and what a node finds that was killed amid them."""
    files = sorted(write_ct(tmp_path / "ct", patient()).iterdir())
    other = []
    for path in files[:1]:
        data = pydicom.dcmread(path)
        data.StudyInstanceUID += ".9"
        data.save_as(tmp_path / path.name)
        other.append(tmp_path / path.name)
    with running(config_for(tmp_path)) as node:
        cut_off(node, [*other, *files[:8]])
        time.sleep(1.0)  # more than the quiet time
        assert node.work.predicted + node.work.failed == 0
    with running(config_for(tmp_path)) as node:
        time.sleep(1.0)
        assert node.work.predicted + node.work.failed == 0
        assert send(node, files) == [0] * len(files)
        wait(lambda: node.work.predicted == 1)
        monkeypatch.setattr("bisc.serve.queue.GIVE_UP_S", 0.1)
        wait(lambda: node.work.predicted + node.work.failed == 2)
        cut_off(node, files)
        wait(lambda: node.work.predicted + node.work.failed == 3)
        rows = [row for path in (tmp_path / "queue").rglob(TABLE) for row in read_rows(path) if row.status == "ok"]
    assert sorted("was cut off: it may be a part" in row.notes for row in rows) == [False, True]


def cut_off(node: Node, files: list[Path]) -> None:
    """Send them and hang up."""
    ae = AE(ae_title="SCANNER")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association: Any = ae.associate(HERE, node.receiver.port, ae_title="BISC")
    assert [association.send_c_store(path).Status for path in files] == [0] * len(files)
    association.abort()


def test_two_objects_of_one_uid_are_both_kept(tmp_path: Path) -> None:
    """Sent twice it is one; of another series, or with other pixels, the reader has to see both."""
    files = sorted(write_ct(tmp_path / "ct", patient(), keep=[0]).iterdir())
    other = tmp_path / "other.dcm"
    data = pydicom.dcmread(files[0])
    data.SeriesInstanceUID += ".9"
    data.save_as(other)
    with running(config_for(tmp_path, quiet_s=60.0)) as node:
        assert send(node, [*files, *files, other, other]) == [0] * 4
        assert len(list((tmp_path / "queue" / "incoming").rglob("*.dcm"))) == 2


@pytest.mark.long
def test_a_place_to_keep_that_is_away_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The study is sent all the same, the next one too, and masks stay in the queue."""
    files = sorted(write_ct(tmp_path / "ct", patient()).iterdir())
    (tmp_path / "kept").write_text("no folder")
    with running(config_for(tmp_path, keep=tmp_path / "kept")) as node:
        for n in (1, 2):
            send(node, files)
            wait(lambda n=n: node.work.sent == n)
    assert "cannot be kept in 'keep'" in capsys.readouterr().err
    assert len(list((tmp_path / "queue" / "done").rglob("*.nii.gz"))) == 2
