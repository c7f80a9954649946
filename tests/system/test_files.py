"""Files whole or absent, strict JSON, and parallel work in which one bad case never ends the others."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from bisc.core.errors import InputError, WorkError
from bisc.system.cases import process_pool, run_cases
from bisc.system.files import PARTIAL, atomic_file, atomic_folder, make_folder, remove_partial, write_bytes, write_text
from bisc.system.jsonfile import Document, load_json, parse_json, save_json, to_json


class Spec(Document, frozen=True):
    """A document to try."""

    name: str
    spacing: tuple[float, float, float]
    counts: dict[str, int]


SPEC = Spec(name="Niere, links", spacing=(3.0, 0.78, 0.78), counts={"a": 1})


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def square(job: int) -> int:
    """The work of a parallel job: three kinds of failure by number."""
    if job == 13:
        raise InputError("case_13", "is unlucky")
    if job == 14:
        raise KeyError("lost\nkey")
    if job == 15:
        raise MemoryError
    return job * job


T = TypeVar("T")


class LateExecutor(Executor):
    """Any executor: runs nothing before it is asked, in this process."""

    def submit(self, fn: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - what an executor does
            future.set_exception(error)
        return future


def test_atomic_file_replaces_only_at_the_end(tmp_path: Path) -> None:
    """While it is written the old file stands, and the scratch keeps the suffix that image writers look at."""
    target = tmp_path / "deep" / "mask.nii.gz"
    write_text(target, "old")
    with atomic_file(target) as scratch:
        scratch.write_text("new")
        assert target.read_text() == "old"
        assert scratch.name.endswith("-mask.nii.gz")
        assert scratch.name.startswith(PARTIAL)
    assert target.read_text() == "new"
    assert names(target.parent) == ["mask.nii.gz"]


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, SystemExit])
def test_interrupted_file_leaves_the_old_one(tmp_path: Path, fault: type[BaseException]) -> None:
    """Errors and Ctrl-C alike: the old content stays, no scratch is left."""
    target = tmp_path / "plan.json"
    write_bytes(target, b"old")
    with pytest.raises(fault), atomic_file(target) as scratch:
        scratch.write_bytes(b"half")
        raise fault
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["plan.json"]


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_interrupted_folder_leaves_the_old_one(tmp_path: Path, fault: type[BaseException]) -> None:
    """The same for a folder with files in it."""
    target = tmp_path / "case_00000"
    with atomic_folder(target) as scratch:
        write_text(scratch / "a.txt", "old")
    with pytest.raises(fault), atomic_folder(target) as scratch:
        write_text(scratch / "a.txt", "half")
        raise fault
    assert names(tmp_path) == ["case_00000"]
    assert (target / "a.txt").read_text() == "old"


def test_atomic_folder_replaces_the_whole_folder(tmp_path: Path) -> None:
    """Nothing of the older folder mixes with the new one."""
    target = tmp_path / "case_00000"
    for name in ("a.txt", "b.txt"):
        with atomic_folder(target) as scratch:
            write_text(scratch / name, name)
    assert names(target) == ["b.txt"]


def test_unwritable_places_are_input_errors(tmp_path: Path) -> None:
    """A file stands where a folder is needed: one line that names the place."""
    (tmp_path / "file").write_text("mine")
    for attempt in (
        lambda: make_folder(tmp_path / "file" / "sub"),
        lambda: write_text(tmp_path / "file" / "sub" / "a.txt", "x"),
        lambda: write_text(tmp_path, "x"),
    ):
        with pytest.raises(InputError, match=r"cannot be (made|written)") as caught:
            attempt()
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be written"), atomic_folder(tmp_path / "file"):
        pass
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_folder_that_cannot_be_begun_is_an_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only parent, which root (as in CI) would write to all the same: simulated."""

    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    parent = make_folder(tmp_path / "parent")
    monkeypatch.setattr(Path, "mkdir", lambda self, *a, **k: None if self == parent else refuse(self))
    with (
        pytest.raises(InputError, match=r"case: cannot be written \(Permission denied\)"),
        atomic_folder(parent / "case"),
    ):
        raise AssertionError("never reached")


def test_remove_partial_clears_scratch_only(tmp_path: Path) -> None:
    """Half-written files and folders go, also of earlier versions; finished ones and other hidden ones stay."""
    make_folder(tmp_path / f"{PARTIAL}123-case" / "sub")
    (tmp_path / f"{PARTIAL}123-a.json").write_text("half")
    (tmp_path / ".hidden").write_text("mine")
    make_folder(tmp_path / "case")
    with atomic_file(tmp_path / "ours.txt") as scratch:
        scratch.write_text("ours")
        remove_partial(tmp_path)
    assert names(tmp_path) == [".hidden", "case", "ours.txt"]


def test_json_round_trip_is_readable(tmp_path: Path) -> None:
    """What is saved is loaded; short lists stand on one line, umlauts as they are."""
    path = tmp_path / "spec.json"
    save_json(path, SPEC)
    assert load_json(path, Spec, "") == SPEC
    assert path.read_text(encoding="utf-8") == (
        '{\n  "name": "Niere, links",\n  "spacing": [3.0, 0.78, 0.78],\n  "counts": {\n    "a": 1\n  }\n}\n'
    )
    assert to_json(SPEC) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        ('{"name": "a", "spacing": [1, 1, 1], "counts": {}, "spacng": 1}', "unknown field `spacng`"),
        ('{"name": "a", "counts": {}}', "missing required field `spacing`"),
        ('{"name": "a", "spacing": [1, 1], "counts": {}}', "$.spacing"),
        ('{"name": "a", "spacing": [1, 1, "x"], "counts": {}}', "$.spacing[2]"),
        ('{"name": 3, "spacing": [1, 1, 1], "counts": {}}', "$.name"),
        ('{"name": "a", "spacing": [1, 1, 1], "counts": {"b": 1.5}}', "$.counts"),
        ('{"name": ', "truncated"),
        ("", "truncated"),
        ("[]", "object"),
    ],
)
def test_json_is_strict(text: str, needle: str) -> None:
    """Unknown, missing and wrongly typed keys are told by their name, in one line that names the file."""
    with pytest.raises(InputError) as caught:
        parse_json(text.encode(), Spec, Path("x/spec.json"), "mend it")
    message = str(caught.value)
    assert needle in message
    assert message.startswith("x/spec.json: ")
    assert message.endswith("mend it")
    assert "\n" not in message


def test_missing_and_binary_json(tmp_path: Path) -> None:
    """No traceback for a missing file or one that is no text."""
    with pytest.raises(InputError, match="No such file"):
        load_json(tmp_path / "none.json", Spec, "")
    (tmp_path / "b.json").write_bytes(b'{"name": "\xff\xfe"}')
    with pytest.raises(InputError, match=r"b\.json"):
        load_json(tmp_path / "b.json", Spec, "")


def test_input_errors_travel_between_processes() -> None:
    """Four parts, one line, unchanged by pickling."""
    error = InputError(Path("a.nii"), "has 2\ndimensions", "3", "mend")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "a.nii: has 2 dimensions; expected 3; mend"
    assert (again.what, again.found, again.expected, again.mend) == ("a.nii", "has 2\ndimensions", "3", "mend")


def check_outcomes(executor: Executor | None) -> None:
    """Four jobs, three of which fail in different ways."""
    outcomes = run_cases(square, [12, 13, 14, 15, 3], executor, "test", lambda job: f"case_{job}")
    assert [o.job for o in outcomes] == [12, 13, 14, 15, 3]
    assert [o.result for o in outcomes] == [144, None, None, None, 9]
    assert [type(o.error) for o in outcomes] == [type(None), InputError, WorkError, WorkError, type(None)]
    assert str(outcomes[1].error) == "case_13: is unlucky"
    assert str(outcomes[2].error).startswith("case_14: KeyError: ")
    assert "\n" not in str(outcomes[2].error)
    assert str(outcomes[3].error).startswith("case_15: out of memory")


def test_run_cases_in_this_process_and_in_any_executor() -> None:
    """None, threads, and an executor that is no pool at all give the same outcomes in the order of the jobs."""
    check_outcomes(None)
    check_outcomes(LateExecutor())
    with ThreadPoolExecutor(2) as pool:
        check_outcomes(pool)


def test_one_worker_means_this_process() -> None:
    """No pool, so that a debugger and tracebacks work."""
    with process_pool(1) as pool:
        assert pool is None
