"""Nothing read from a file is executed: the sources call nothing that could, and files that try do not succeed."""

from __future__ import annotations

import ast
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from bisc.core.errors import InputError
from bisc.core.labels import KIDNEY
from bisc.inference.model import load_model
from bisc.network.checkpoint import UnsafeArchive, check_pickle, load_checkpoint
from bisc.network.device import choose_device
from bisc.preprocessing.cache import load_regions
from bisc.preprocessing.regions import _points
from tests.robustness.fuzz_seeds import seed_files
from tests.support.training_fixtures import use_one_thread

use_one_thread()
SOURCES = ("bisc", "preprocessing", "planners", "trainers", "evaluation", "scripts", "benchmarks")
MODULES = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "yaml", "subprocess"}
STARTS = {"bisc/system/children.py"}
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {"read_pickle", "system", "popen", "set_allowed_globals", "add_safe_globals", "unsafe_load"}


def dangers(source: str) -> list[str]:
    """What in a module's text could execute what it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [name for name in names if name.split(".")[0] in MODULES]
        if not isinstance(node, ast.Call):
            continue
        options = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
        call = ast.unparse(node.func)
        if call in CALLS or call.split(".")[-1] in METHODS:
            found.append(call)
        if call in ("torch.load", "torch.jit.load") and options.get("weights_only") is not True:
            found.append(f"{call} without weights_only=True")
        if call in ("np.load", "numpy.load") and options.get("allow_pickle") is not False:
            found.append(f"{call} without allow_pickle=False")
        if options.get("shell") is True or options.get("allow_pickle") is True:
            found.append(f"{call} with a forbidden option")
    return found


def test_the_sources_call_nothing_that_executes_a_file(repository: Path) -> None:
    """Benchmarks and scripts start processes and read their own arrays; of the package `STARTS` alone starts any."""
    paths = [path for folder in SOURCES for path in sorted((repository / folder).rglob("*.py"))]
    assert len(paths) > 100
    found = {path: dangers(path.read_text(encoding="utf-8")) for path in paths}
    tools = {repository / "scripts", repository / "benchmarks"}
    fine = {"subprocess", "np.load without allow_pickle=False"}  # without the option numpy refuses pickles too
    for path, what in found.items():
        starts = {"subprocess"} if path.relative_to(repository).as_posix() in STARTS else set()
        assert set(what) <= (fine if tools & set(path.parents) else starts), path


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "from yaml import load",
        "eval(text)",
        "exec(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "run(text, shell=True)",
        "pd.read_pickle(path)",
        "os.system(text)",
        "torch.serialization.add_safe_globals([A])",
    ],
)
def test_the_search_would_find_it(source: str) -> None:
    assert len(dangers(source)) > 0


class Touch:
    """Unpickled, it touches a file: by a method, by eval, by os.system, or by a class's state."""

    def __init__(self, marker: Path, how: str) -> None:
        self.marker, self.how = marker, how

    def __reduce__(self) -> tuple[object, ...]:
        import os

        text = f"__import__('pathlib').Path({str(self.marker)!r}).touch()"
        if self.how == "eval":
            return eval, (text,)
        if self.how == "exec":
            return exec, (text,)
        if self.how == "system":
            return os.system, (f"touch '{self.marker}'",)
        return Path.touch, (self.marker,)


HOW = ["method", "eval", "exec", "system"]
PLACES = ["network", "optimizer", "settings", "key", "format"]


def spoilt_content(place: str, gadget: Touch) -> dict[object, object]:
    """A checkpoint's content with a gadget at some place."""
    content: dict[object, object] = {"format": 1, "settings": {}, "plan": {}, "network": {}, "optimizer": {}}
    content[gadget if place == "key" else place] = {"state": [gadget]} if place == "optimizer" else gadget
    return content


def torch_file(content: object, legacy: bool) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


@pytest.mark.parametrize("how", HOW)
def test_a_gadget_in_a_checkpoint_does_nothing(tmp_path: Path, how: str) -> None:
    """At every place, in torch's zip, its old format and a bare pickle; the last lines show that it would work."""
    marker, path = tmp_path / "marker", tmp_path / "checkpoint_last.pt"
    for place in PLACES:
        content = spoilt_content(place, Touch(marker, how))
        for data in (torch_file(content, False), torch_file(content, True), pickle.dumps(content, protocol=2)):
            path.write_bytes(data)
            with pytest.raises(InputError, match="no usable checkpoint"):
                load_checkpoint(path)
            assert not marker.exists()
    pickle.loads(data)
    assert marker.exists()


def test_the_old_formats_are_refused_even_where_harmless(tmp_path: Path) -> None:
    """Torch before 2.6 executed them in spite of weights_only=True (CVE-2025-32434)."""
    path = tmp_path / "old.pt"
    path.write_bytes(torch_file({"format": 1, "settings": {}, "plan": {}, "network": {}}, True))
    assert torch.load(path, weights_only=True)["format"] == 1
    with pytest.raises(InputError, match="no usable checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("how", HOW)
def test_a_gadget_in_a_model_archive_does_nothing(tmp_path: Path, how: str) -> None:
    marker = tmp_path / "marker"
    whole = seed_files("model.zip")["model.zip"]
    for legacy in (False, True):
        evil = torch_file(spoilt_content("network", Touch(marker, how)), legacy)
        with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(tmp_path / "model.zip", "w") as new:
            for name in old.namelist():
                new.writestr(name, evil if name.startswith("rough") else old.read(name))
        with pytest.raises(InputError, match="no usable checkpoint"):
            load_model(tmp_path / "model.zip", None, choose_device("cpu", "fp32"))
        assert not marker.exists()


def test_a_cached_array_of_objects_is_refused(tmp_path: Path) -> None:
    """Pickled objects in .npy, and an .npz under its name."""
    marker = tmp_path / "marker"
    for name, data in seed_files("cache").items():
        (tmp_path / name).write_bytes(data)
    (region,) = load_regions(tmp_path)
    path = tmp_path / "region_0_kidney_points.npy"
    np.save(path, np.array([Touch(marker, "method")], dtype=object), allow_pickle=True)
    _points.cache_clear()
    with pytest.raises(InputError, match="cannot be read"):
        region.points(KIDNEY)
    assert not marker.exists()
    np.load(path, allow_pickle=True)
    assert marker.exists()
    with path.open("wb") as file:
        np.savez(file, np.zeros((12, 14, 16), np.float16))
    _points.cache_clear()
    with pytest.raises(InputError, match="cannot be read"):
        region.points(KIDNEY)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (bytearray(3), "asks for"),
        ({1, 2}, "asks for"),
        (1j, "asks for"),
        (b"bytes", "asks for"),
        (torch.device("cpu"), "asks for"),
        (10**300, "uses LONG4"),
    ],
)
def test_a_pickle_may_ask_for_plain_values_and_tensors_alone(value: object, told: str) -> None:
    """torch allows some forty more; among them bytearray(10**12), which fills the memory."""
    check_pickle(pickle.dumps({"a": [1, 2.5, None, True, "text", (3, 4)]}, protocol=2))
    content = value if told == "asks for" else 2 ** (8 * 300)
    with pytest.raises(UnsafeArchive, match=told):
        check_pickle(pickle.dumps(content, protocol=2))
