"""With the programs that hospitals run: Orthanc and its DICOMweb, dcmtk, dciodvfy. Minutes; run by `make test-long`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE

from bisc.core.volume import Volume
from tests.support.ct_series import write_ct
from tests.support.dicom_peers import patient
from tests.support.orthanc import HERE, Orthanc, free_port, wait

pytestmark = pytest.mark.long
STUDIES, KILLS = 20, 5
REPOSITORY = Path(__file__).parents[2]


class Served:
    """bisc_serve as a process of its own, that can be killed and started again."""

    def __init__(self, folder: Path, orthanc_http: Callable[[], int], **node: object) -> None:
        self.folder, self.orthanc_http, self.node = folder, orthanc_http, node
        self.port, self.status = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True, parents=True)
        more = "".join(f"{key} = {value}\n" for key, value in self.node.items())
        (self.folder / "node.ini").write_text(
            f"[node]\nfolder = queue\nport = {self.port}\nstatus_port = {self.status}\nquiet_seconds = 2\n{more}"
            f"[accept]\nORTHANC = {HERE}\nSCANNER = {HERE}\n"
            f"[send orthanc]\nhow = stow\nurl = http://{HERE}:{self.orthanc_http()}/dicom-web\n"
            "[predict]\nmodel = .\nalso = sr\ndevice = cpu\n"
        )
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.stub_node", self.folder / "node.ini"],
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=REPOSITORY,
            )
        wait(self.healthy, 120)

    def healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"http://{HERE}:{self.status}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(60)

    def count(self, name: str) -> float:
        with urllib.request.urlopen(f"http://{HERE}:{self.status}/metrics", timeout=5) as answer:
            lines = dict(line.split(" ") for line in answer.read().decode().splitlines())
        return float(lines[f"bisc_{name}"])


@pytest.fixture
def pair(tmp_path: Path, tools: None) -> Iterator[tuple[Orthanc, Served]]:
    """An archive and a node that know each other."""
    served = Served(tmp_path / "node", lambda: orthanc.http)
    orthanc = Orthanc(tmp_path / "orthanc", served.port)
    served.start()
    yield orthanc, served
    if served.process is not None and served.process.poll() is None:
        served.kill(signal.SIGTERM)
    orthanc.stop()


def scu(calling: str = "SCANNER") -> AE:
    ae = AE(ae_title=calling)
    ae.add_requested_context(CTImageStorage)
    return ae


def store_all(port: int, files: list[Path], called: str) -> None:
    """By C-STORE, again and again until every file was taken: what a scanner's own queue does."""
    waiting = list(files)
    end = time.monotonic() + 600
    while waiting:
        assert time.monotonic() < end
        association: Any = scu().associate(HERE, port, ae_title=called)
        if not association.is_established:
            time.sleep(0.5)
            continue
        for path in list(waiting):
            try:
                status = association.send_c_store(path).get("Status")
            except (ValueError, RuntimeError):
                break
            if status != 0:
                break
            waiting.remove(path)
        if association.is_established:
            association.release()


def test_twenty_studies_and_five_kills(tmp_path: Path, pair: tuple[Orthanc, Served]) -> None:
    """Studies sent to Orthanc, from there to the node, results back by STOW-RS and visible by QIDO: 0 lost, 0 twice."""
    orthanc, served = pair
    volume = patient()
    for k in range(STUDIES):
        files = sorted(write_ct(tmp_path / f"s{k}", volume, study=str(k + 1), patient=f"P{k}").iterdir())
        store_all(orthanc.dicom, files, "ORTHANC")
    studies = orthanc.get("/studies")
    assert len(studies) == STUDIES
    kills = 0
    for k, study in enumerate(studies):
        while True:
            try:
                done = orthanc.post("/modalities/bisc/store", study.encode())
                if done.get("FailedInstancesCount", 1) == 0:
                    break
            except OSError:
                pass
            time.sleep(1)
        if k % 4 == 3 and kills < KILLS:
            served.kill()
            served.start()
            kills += 1
    assert kills == KILLS

    def found(modality: str) -> list[Any]:
        return list(orthanc.get(f"/dicom-web/instances?Modality={modality}&includefield=StudyInstanceUID"))

    wait(lambda: len({one["0020000D"]["Value"][0] for one in found("SEG")}) == STUDIES, 900)
    wait(
        lambda: (
            served.count("studies_ready") + served.count("studies_incoming") + served.count("studies_outgoing") == 0
        ),
        120,
    )
    for modality in ("SEG", "SR"):
        of = [one["0020000D"]["Value"][0] for one in found(modality)]
        assert sorted(of) == sorted(set(of)), f"{modality} twice"
        assert len(of) == STUDIES, f"{modality} lost"
    log = (served.folder / "log").read_text()
    assert "Doe" not in log
    assert "Traceback" not in log


def test_ten_at_once_and_a_stranger(tmp_path: Path, pair: tuple[Orthanc, Served]) -> None:
    """Ten associations send at the same time; a stranger and a truncated object do not disturb them."""
    _, served = pair
    volume = patient()
    sets = [
        sorted(write_ct(tmp_path / f"t{k}", volume, study=str(100 + k), patient=f"Q{k}").iterdir()) for k in range(10)
    ]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda files: store_all(served.port, files, "BISC"), sets))
    stranger: Any = scu("STRANGER").associate(HERE, served.port, ae_title="BISC")
    assert not stranger.is_established
    raw = socket.create_connection((HERE, served.port))
    raw.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
    raw.close()
    assert served.healthy()
    assert served.count("objects_received_total") == sum(map(len, sets))
    assert served.count("associations_rejected_total") == 1


def test_four_gigabytes(tmp_path: Path) -> None:
    """A study of 4 GB, twice the quota: taken, then refused or cut off; memory stays small; never down, and never
    predicted in part."""
    served = Served(tmp_path / "node", lambda: 9, quota_gb=2, host=HERE)
    served.start()
    assert served.process is not None
    volume = np.zeros((1, 2048, 2048), np.int16)
    statuses: list[int | None] = []
    association: Any = scu().associate(HERE, served.port, ae_title="BISC")
    for k in range(512):
        if not association.is_established:
            association = scu().associate(HERE, served.port, ae_title="BISC")
            assert association.is_established
        try:
            statuses.append(association.send_c_store(_slice(volume, k)).get("Status"))
        except RuntimeError:
            statuses.append(None)
    association.release()
    n_taken = statuses.count(0)
    assert set(statuses) <= {0, 0xA700, None}
    assert statuses[-1] != 0
    assert 200 <= n_taken <= 2e9 / (2 * volume.size)
    time.sleep(5)
    assert served.process.poll() is None
    assert served.count("objects_received_total") == n_taken
    assert served.count("studies_ready") + served.count("studies_predicted_total") == 0
    lines = Path(f"/proc/{served.process.pid}/status").read_text().splitlines()
    kb = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    assert kb < 1_500_000
    served.kill(signal.SIGTERM)


def _slice(volume: np.ndarray[Any, Any], k: int) -> Dataset:
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"bisc-slice-{os.getpid()}"
    from bisc.core.geometry import Geometry

    def numbered(data: Dataset, i: int) -> None:
        data.SOPInstanceUID = f"{data.SeriesInstanceUID}.{k + 1}"

    grid = Geometry(volume.shape, (1.0, 0.4, 0.4), (0.0, 0.0, float(k)), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    write_ct(folder, Volume(volume, grid), study="500", name=lambda i: "IM0000.dcm", change=numbered)
    data = pydicom.dcmread(folder / "IM0000.dcm")
    data.PixelData = data.PixelData  # read it before the file goes
    shutil.rmtree(folder)
    return data
