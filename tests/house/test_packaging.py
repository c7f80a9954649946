"""The wheel holds the package and nothing else, its metadata and commands are right, the pins fit the ranges."""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.metadata
import pkgutil
import shutil
import subprocess
import sys
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import bisc

STAGES = ("preprocessing", "planners", "trainers", "evaluation")
COMMANDS = (
    "plan_and_preprocess",
    "train",
    "predict",
    "evaluate",
    "compare",
    "simulate",
    "export",
    "demo",
    "info",
    "serve",
    "measure",
    "download",
    "report",
    "model",
)
SOURCES = ("bisc", *STAGES, "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def config(repository: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(repository / "setup.cfg")
    return parser


def isolation() -> list[str]:
    """This environment's setuptools where it is new enough; else build fetches one."""
    try:
        new_enough = Version(importlib.metadata.version("setuptools")) >= Version("70")
    except importlib.metadata.PackageNotFoundError:
        new_enough = False
    return ["--no-isolation"] if new_enough else []


def build_wheel(repository: Path, folder: Path, symlinks: bool) -> Path:
    """Build in a copy, so that the checkout stays as it is; without symlinks as git leaves it on Windows."""
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        path = repository / name
        if path.is_dir():
            shutil.copytree(path, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    for stage in STAGES if not symlinks else ():
        link = source / "bisc" / stage
        link.unlink()
        link.write_text(f"../{stage}")
    command = [sys.executable, "-m", "build", "--wheel", *isolation(), "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module", params=[True, False], ids=["symlinks", "no symlinks"])
def wheel(request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The built wheel, from a checkout with the four symlinks and from one where git made none."""
    pytest.importorskip("build")
    return ZipFile(build_wheel(repository, tmp_path_factory.mktemp("wheel"), request.param))


@pytest.fixture(scope="module")
def metadata(wheel: ZipFile) -> Message:
    (name,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def modules_on_disk(repository: Path) -> set[str]:
    """Every module of the package as the wheel should name it."""
    own = {p.relative_to(repository).as_posix() for p in (repository / "bisc").rglob("*.py")}
    own = {name for name in own if name.split("/")[1] not in STAGES}
    staged = {f"bisc/{p.relative_to(repository).as_posix()}" for s in STAGES for p in (repository / s).rglob("*.py")}
    return own | staged


def test_the_only_top_level_name_is_bisc(wheel: ZipFile) -> None:
    """The stage folders at the repository's root must not become packages of their own."""
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"bisc", f"bisc_unet-{bisc.__version__}.dist-info"}


def test_the_wheel_holds_every_module_once(wheel: ZipFile, repository: Path) -> None:
    """All modules on disk, the stage packages under bisc, py.typed, tables, and no test or benchmark."""
    names = wheel.namelist()
    assert len(names) == len(set(names))
    assert {n for n in names if n.endswith(".py")} == modules_on_disk(repository)
    assert {"bisc/py.typed", "bisc/pipeline/kits_files.csv"} <= set(names)
    for stage in STAGES:
        assert f"bisc/{stage}/__init__.py" in names


def test_metadata(metadata: Message, config: configparser.ConfigParser) -> None:
    """Name, version, licence, Python range, requirements and readme."""
    assert metadata["Name"] == "bisc-unet"
    assert metadata["Version"] == bisc.__version__
    assert (metadata["License-Expression"] or metadata["License"]) == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert SpecifierSet(metadata["Requires-Python"]) == SpecifierSet(">=3.10")
    needed = {Requirement(r) for r in metadata.get_all("Requires-Dist", []) if "extra ==" not in r}
    assert needed == {Requirement(line) for line in config["options"]["install_requires"].split("\n") if line}
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "BiSC-UNet" in metadata.get_payload()


def test_the_licence_is_in_the_wheel(wheel: ZipFile, repository: Path) -> None:
    """Word for word."""
    (name,) = (n for n in wheel.namelist() if n.endswith("LICENSE"))
    text = wheel.read(name)
    assert text == (repository / "LICENSE").read_bytes()
    assert b"Apache License" in text


def test_every_command_resolves(wheel: ZipFile) -> None:
    """The wheel's console scripts are the seven commands, and each names a callable."""
    (name,) = (n for n in wheel.namelist() if n.endswith("entry_points.txt"))
    parser = configparser.ConfigParser()
    parser.read_string(wheel.read(name).decode())
    scripts = dict(parser["console_scripts"])
    assert scripts == {f"bisc_{c}": f"bisc.cli.entry:{c}" for c in COMMANDS}
    for script, value in scripts.items():
        assert callable(importlib.metadata.EntryPoint(script, value, "console_scripts").load())


def test_listed_packages_are_those_on_disk(repository: Path, config: configparser.ConfigParser) -> None:
    """A new sub-package that setup.cfg does not list would be missing from the wheel alone."""
    on_disk = {p.rsplit("/", 1)[0].replace("/", ".") for p in modules_on_disk(repository)}
    listed = config["options"]["packages"].split()
    assert sorted(listed) == sorted(on_disk)
    folders = dict(line.split(" = ") for line in config["options"]["package_dir"].strip().split("\n"))
    assert folders == {"bisc": "bisc"} | {f"bisc.{stage}": stage for stage in STAGES}
    for package in listed:
        assert importlib.import_module(package).__name__ == package


def test_every_promised_name_is_there() -> None:
    """`from MODULE import *` works for each module of the package that has an __all__, and gives each name once."""
    promising = 0
    for found in pkgutil.walk_packages(bisc.__path__, "bisc."):
        module = importlib.import_module(found.name)
        names = getattr(module, "__all__", None)
        if names is None:
            continue
        promising += 1
        given: dict[str, object] = {}
        exec(f"from {found.name} import *", given)  # what the user would type
        assert set(names) <= given.keys()
        assert len(names) == len(set(names)), found.name
    assert promising >= 3


def test_what_is_imported_is_required(repository: Path, config: configparser.ConfigParser) -> None:
    """A package that comes along with another one today may not do so tomorrow."""
    files = [repository / name for name in modules_on_disk(repository)]
    files = [path if path.exists() else repository / path.relative_to(repository / "bisc") for path in files]
    roots = {
        alias.name.split(".")[0] if isinstance(node, ast.Import) else (node.module or "").split(".")[0]
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0)
        for alias in node.names
    }
    others = roots - set(sys.stdlib_module_names) - {"bisc"}
    extras = [config["options.extras_require"][name] for name in ("dask", "dicom", "onnx", "tensorboard", "mlflow")]
    lines = "\n".join([config["options"]["install_requires"], *extras]).split("\n")
    required = {normal(Requirement(line).name) for line in lines if line}
    distributions = importlib.metadata.packages_distributions()
    assert len(others) > 8
    for root in others:
        found = distributions.get(
            root, [root, f"{root}-skinny"]
        )  # an extra that is not installed: mlflow's has that name
        assert required & {normal(name) for name in found}, root


def test_the_four_symlinks(repository: Path) -> None:
    """Relative links, so that a bare clone and the type checkers see one package."""
    if not (repository / "bisc" / "planners").is_symlink():
        pytest.skip("git made no symlinks here")
    links = {p.name: str(p.readlink()) for p in (repository / "bisc").iterdir() if p.is_symlink()}
    assert links == {stage: f"../{stage}" for stage in STAGES}
    for stage in STAGES:
        assert (repository / "bisc" / stage / "__init__.py").samefile(repository / stage / "__init__.py")


def pins(repository: Path) -> dict[str, Version]:
    """Version by normalised name of constraints.txt."""
    lines = [line.strip() for line in (repository / "constraints.txt").read_text().splitlines()]
    parsed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for requirement in parsed:
        assert [s.operator for s in requirement.specifier] == ["=="], requirement
    return {normal(r.name): Version(next(iter(r.specifier)).version) for r in parsed}


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


def test_every_requirement_is_pinned_within_its_range(repository: Path, config: configparser.ConfigParser) -> None:
    """What was tested is what setup.cfg allows; nothing required goes unpinned."""
    pinned = pins(repository)
    extras = config["options.extras_require"]
    text = "\n".join((config["options"]["install_requires"], *extras.values()))
    required = [Requirement(line) for line in text.split("\n") if line]
    assert len(required) == len({normal(r.name) for r in required}) > 20
    for requirement in required:
        assert requirement.specifier.contains(pinned[normal(requirement.name)]), requirement
        assert len(requirement.specifier) >= 1


def test_the_version_is_said_once() -> None:
    """The attribute and the installed metadata agree."""
    assert importlib.metadata.version("bisc-unet") == bisc.__version__
    assert str(Version(bisc.__version__)) == bisc.__version__
