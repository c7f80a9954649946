"""A challenge's data set fetched from a server of our own, then planned: nothing half, nothing silent."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

import bisc
from bisc.core.errors import InputError, WorkError
from bisc.pipeline import download as download_module
from bisc.pipeline import kits_sources
from bisc.pipeline.download import Downloaded, check, download
from bisc.pipeline.kits_sources import SOURCES, licence_text
from bisc.system import download as fetching
from bisc.system.checksums import FILE, Checksum, read_checksums, record_checksum
from bisc.system.http import UnreachableError
from bisc.system.locks import locked
from tests.support.http_server import Server, cut, instead, refuse, serving

LABELS, IMAGE = "aggregated_MAJ_seg.nii.gz", "imaging.nii.gz"
N_CASES = 5


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and no waiting between tries."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fetching, "WAITS_S", (0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path


@pytest.fixture
def server(tiny_dataset: Path) -> Iterator[Server]:
    """A mirror of KiTS21, of which no checksum is known beforehand, with five small cases."""
    with serving() as mine:
        mine.files["/KiTS21/kits.json"] = b"[]"
        for case in sorted(tiny_dataset.glob("case_*")):
            mine.files[f"/KiTS21/{case.name}/{IMAGE}"] = (case / IMAGE).read_bytes()
            mine.files[f"/KiTS21/{case.name}/{LABELS}"] = (case / "segmentation.nii.gz").read_bytes()
        yield mine


def get(server: Server, n: int | None = N_CASES, **more: object) -> Downloaded:
    return download("KiTS21", n=n, mirror=server.address, accept_licence=True, **more)  # type: ignore[arg-type]


def test_what_was_fetched_is_planned(server: Server, home: Path) -> None:
    """By its name alone, and nothing that lies beside the cases needs a word."""
    done = get(server)
    assert done.folder == Path("bisc_data/raw/KiTS21")
    assert (len(done.fetched), done.kept, done.missing, done.errors) == (2 * N_CASES + 1, (), (), ())
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "LICENCE.txt", *(f"case_{n:05d}" for n in range(N_CASES)), FILE, "kits.json",
    ]  # fmt: skip
    said: list[object] = []
    planned = bisc.plan("KiTS21", only_plan=True, tell=said.append)
    assert [case.name for case in planned.fingerprint.cases] == [f"case_{n:05d}" for n in range(N_CASES)]
    assert (planned.faults, planned.notes, said) == ([], [], [])


def test_label_maps_alone_are_planned(server: Server) -> None:
    """--labels-only, then --only-plan."""
    done = get(server, labels_only=True)
    assert len(done.fetched) == N_CASES + 1
    assert not any(path.endswith(IMAGE) for _, path, _ in server.asked)
    assert len(bisc.plan("KiTS21", only_plan=True).fingerprint.cases) == N_CASES


def test_the_list_of_checksums_is_what_sha256sum_reads(server: Server) -> None:
    """Each file that was fetched, and no other."""
    done = get(server, 2)
    assert sorted(read_checksums(done.folder)) == sorted(done.fetched)
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--quiet", "-c", FILE], cwd=done.folder, check=True)


def test_a_second_run_fetches_what_is_missing(server: Server) -> None:
    """Neither what is there, nor its size, is asked for."""
    get(server, 2)
    server.asked.clear()
    done = get(server, 3)
    assert sorted(done.fetched) == [f"case_00002/{LABELS}", f"case_00002/{IMAGE}"]
    assert len(done.kept) == 5
    assert {path.split("/")[2] for _, path, _ in server.asked} == {"case_00002"}


def test_one_bad_file_costs_its_own_case(server: Server) -> None:
    """One missing, one that is a page, one damaged: a line each, and none of them is there under its name."""
    del server.files[f"/KiTS21/case_00000/{IMAGE}"]
    server.always[f"/KiTS21/case_00001/{IMAGE}"] = instead(b"<html>", "text/html")
    sound = server.files[f"/KiTS21/case_00002/{IMAGE}"]
    server.files[f"/KiTS21/case_00002/{IMAGE}"] = sound[:-4] + bytes(4)
    server.files[f"/KiTS21/case_00003/{IMAGE}"] = sound[:-8]
    done = get(server)
    words = ["404", "a web page", "damaged gzip", "ends before its gzip checksum"]
    assert [word in str(error) for error, word in zip(done.errors, words, strict=True)] == [True] * 4
    assert all(isinstance(error, WorkError) for error in done.errors)
    images = sorted(path.parent.name for path in done.folder.glob(f"*/{IMAGE}"))
    assert images == ["case_00004"]
    assert len(list(done.folder.glob(f"*/{LABELS}"))) == N_CASES
    assert not list(done.folder.glob("*/.download-*")), "nothing to go on with is left of wrong files"


def test_no_image_is_accepted_that_is_no_scan(server: Server) -> None:
    """Gzip, and sound, of something else."""
    server.files[f"/KiTS21/case_00000/{IMAGE}"] = gzip.compress(b"not a scan" * 100)
    (error,) = get(server, 1).errors
    assert "no NIfTI header" in str(error)


def test_a_cut_file_is_gone_on_with_by_the_next_run(server: Server) -> None:
    """The estimate of the next run leaves out what is there."""
    path = f"/KiTS21/case_00000/{IMAGE}"
    server.faults[path].extend([cut(50_000), refuse(503), refuse(503)])
    (error,) = get(server, 1).errors
    assert "after 3 tries" in str(error)
    server.asked.clear()
    said: list[str] = []
    assert get(server, 1, tell=said.append).fetched == (f"case_00000/{IMAGE}",)
    assert server.ranges(path) == ["bytes=50000-"]
    left = (len(server.files[path]) - 50_000) / 1e6
    assert f"2 files are there, 1 files to fetch, {left:.1f} MB" in said[-1]


def test_a_file_that_is_not_the_first_one_any_more(server: Server) -> None:
    """Removed, and fetched again from a server that has another one by now: the list tells."""
    folder = get(server, 1).folder
    (folder / "case_00000" / IMAGE).unlink()
    server.files[f"/KiTS21/case_00000/{IMAGE}"] = server.files[f"/KiTS21/case_00001/{IMAGE}"]
    (error,) = get(server, 1).errors
    assert f"({FILE}, of when it was first fetched); fetched twice, and not kept" in str(error)
    assert not (folder / "case_00000" / IMAGE).exists()


def test_the_check_finds_what_changed_on_the_disk(server: Server) -> None:
    """A flipped bit, a file that is gone; nothing is fetched."""
    folder = get(server, 3).folder
    server.asked.clear()
    assert len(check("KiTS21", n=3).kept) == 7
    path = folder / "case_00001" / LABELS
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    (folder / "case_00002" / IMAGE).unlink()
    done = check("KiTS21", n=3)
    assert (len(done.kept), done.missing) == (5, (f"case_00002/{IMAGE}",))
    (error,) = done.errors
    assert isinstance(error, InputError)
    assert (error.what, error.mend) == (str(path), "remove it, and run bisc_download again")
    assert server.asked == []


def test_files_that_were_there_before_are_taken_if_they_are_right(server: Server) -> None:
    """A copy made by hand is read and recorded; a wrong one is told, and stays as it is."""
    folder = Path("bisc_data/raw/KiTS21")
    for case in ("case_00000", "case_00001"):
        (folder / case).mkdir(parents=True)
        (folder / case / LABELS).write_bytes(
            server.files[f"/KiTS21/{case}/{LABELS}"][: -1 if case[-1] == "1" else None]
        )
    done = get(server, 2, labels_only=True)
    assert (done.fetched, done.kept) == (("kits.json",), (f"case_00000/{LABELS}",))
    (error,) = done.errors
    assert isinstance(error, InputError)
    assert "case_00001" in error.what
    assert (folder / "case_00001" / LABELS).exists()
    assert f"case_00000/{LABELS}" in read_checksums(folder)


def test_published_checksums_are_asked_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label map that is whole and another than git's blob says is refused."""
    name = f"case_00000/{LABELS}"
    body = server.files[f"/KiTS21/{name}"]
    right = Checksum("git", hashlib.sha1(b"blob %d\0%b" % (len(body), body)).hexdigest(), "git")
    monkeypatch.setattr(kits_sources, "_known", lambda: {("KiTS21", name): (len(body), right)})
    assert get(server, 1, labels_only=True).errors == ()
    (Path("bisc_data/raw/KiTS21") / name).unlink()
    (Path("bisc_data/raw/KiTS21") / FILE).unlink()
    server.files[f"/KiTS21/{name}"] = server.files[f"/KiTS21/case_00001/{LABELS}"]
    (error,) = get(server, 1, labels_only=True).errors
    assert "git checksum" in str(error)


def test_a_full_disk_is_said_once(server: Server) -> None:
    """The others are not tried, and counted."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    folder = Path("bisc_data/raw/KiTS21")
    for case in ("case_00000", "case_00001"):
        (folder / case).mkdir(parents=True)
        (folder / case / f"{fetching.PARTIAL}{IMAGE}").symlink_to("/dev/full")
    done = get(server, n_workers=1)
    assert [type(error).__name__ for error in done.errors] == ["DiskFullError"]
    assert done.fetched == ("kits.json", f"case_00000/{LABELS}")
    assert len(done.fetched) + len(done.missing) + 1 == 2 * N_CASES + 1


def test_too_little_room_is_known_beforehand(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first byte; a few megabytes are left free."""
    usage = namedtuple("usage", "total used free")
    n_bytes = sum(map(len, server.files.values()))
    monkeypatch.setattr(download_module, "SPARE_BYTES", 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(0, 0, n_bytes + 999))
    with pytest.raises(InputError, match=r"MB are free on its disk; expected .* MB; free space"):
        get(server)
    assert not any(method == "GET" for method, _, _ in server.asked)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(0, 0, n_bytes + 1000))
    assert get(server).errors == ()


def test_no_network_is_one_line_at_once(server: Server) -> None:
    """Not one per file after all their tries."""
    with serving() as gone:
        address = gone.address
    with pytest.raises(UnreachableError, match="no answer"):
        download("KiTS21", mirror=address, accept_licence=True)


def test_two_runs_do_not_write_one_folder(server: Server) -> None:
    """The second is refused."""
    folder = get(server, 1).folder
    with locked(folder), pytest.raises(InputError, match="another bisc_download"):
        get(server, 2)


def test_simulated_cases_are_not_added_to(server: Server) -> None:
    """The real image would be taken to be there, or lie beside simulated patients as one of them."""
    folder = get(server, 1).folder
    (folder / "simulation.json").write_text("{}")
    with pytest.raises(InputError, match="holds simulated cases"):
        get(server)


def test_the_licence_comes_first(server: Server) -> None:
    """Not a byte is asked for, nor a folder made, before it is agreed to."""
    with pytest.raises(InputError, match="licence was not agreed to"):
        download("KiTS21", mirror=server.address)
    assert server.asked == []
    assert not Path("bisc_data").exists()
    get(server, 1)
    assert Path("bisc_data/raw/KiTS21/LICENCE.txt").read_text() == licence_text(SOURCES["KiTS21"])


@pytest.mark.parametrize("mirror", ["file:///etc", "host/raw", "http://", "http://[", "ftp://x/y", "http://ü/"])
def test_addresses_that_are_none(mirror: str) -> None:
    with pytest.raises(InputError, match="--mirror"):
        download("KiTS21", mirror=mirror, accept_licence=True)


def test_a_damaged_list_of_checksums_is_no_reason_to_fetch_all_again(server: Server) -> None:
    """It is told, and stays."""
    folder = get(server, 1).folder
    (folder / FILE).write_text("abc  kits.json\n")
    with pytest.raises(InputError, match=r"expected SHA-256, two blanks, file"):
        get(server, 1)
    (folder / FILE).unlink()
    record_checksum(folder, "a", "0" * 64)
    record_checksum(folder, "a", "1" * 64)
    assert read_checksums(folder) == {"a": "1" * 64}


@pytest.mark.parametrize(("name", "folder"), [("KiTS19", "kits19"), ("KiTS23", "kits23")])
def test_real_label_maps_have_the_published_checksums(name: str, folder: str, shared_folder: Path) -> None:
    """A mirror of real ones is fetched by the table: each is git's blob to the byte."""
    there = sorted(path.parent.name for path in (shared_folder / folder).glob("case_*/segmentation.nii.gz"))[:8]
    with serving() as server:
        for case in there:
            path = shared_folder / folder / case / "segmentation.nii.gz"
            server.files[f"/{name}/{case}/segmentation.nii.gz"] = path.read_bytes()
        numbers = [int(case[5:]) for case in there]
        done = download(name, cases=numbers, labels_only=True, mirror=server.address, accept_licence=True)
    assert len(done.fetched) == len(there) > 0
    assert ["404" in str(error) for error in done.errors] == [True], "only the facts are not on this mirror"


def test_known_faults_are_told_before(server: Server) -> None:
    """Of KiTS19's chosen cases, with their source; of its successors, which were labelled anew, none."""
    said: list[str] = []
    chosen = {"cases": [15, 16, 160], "labels_only": True, "accept_licence": True, "mirror": server.address}
    download("KiTS19", tell=said.append, **chosen)  # type: ignore[arg-type]
    assert [line[:10] for line in said] == ["case_00015", "case_00015", "case_00160", "KiTS19: 3 "]
    assert all("github.com/neheller/kits19" in line for line in said[:-1])
    said.clear()
    download("KiTS21", tell=said.append, **chosen)  # type: ignore[arg-type]
    assert len(said) == 1
    assert json.loads(server.files["/KiTS21/kits.json"]) == []
