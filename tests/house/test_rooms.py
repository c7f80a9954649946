"""Every room says what it is for, the architecture page quotes it, and no file grows beyond a few screens."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCES = ("bisc", "preprocessing", "planners", "trainers", "evaluation", "benchmarks", "scripts", "tests")
MAX_LINES = 300


def python_files(repository: Path) -> list[Path]:
    """Each once: the stage folders, not their links within `bisc`."""
    files = [path for name in SOURCES for path in (repository / name).rglob("*.py")]
    return sorted(path for path in files if path.resolve() == path.absolute())


def rooms(repository: Path) -> list[Path]:
    """The `__init__.py` of every package folder of the product."""
    inits = [path for path in python_files(repository) if path.name == "__init__.py"]
    outside = {"tests", "benchmarks", "scripts"}
    named = [path for path in inits if path.relative_to(repository).parts[0] not in outside]
    assert len(named) > 10
    return [path for path in named if path.parent != repository / "bisc"]


def purpose(init: Path) -> str:
    """The first line of its docstring."""
    return (ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or "").split("\n")[0]


def test_every_room_has_a_purpose_that_the_architecture_page_quotes(repository: Path) -> None:
    """One line, ended by a full stop, in the table row of that room."""
    page = (repository / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    for init in rooms(repository):
        line = purpose(init)
        parts = init.parent.relative_to(repository).parts
        name = ".".join(parts if parts[0] == "bisc" else ("bisc", *parts))
        assert line.endswith("."), f"{name} says no purpose"
        assert f"| `{name}` | {line} |" in page, f"docs/explanation/architecture.md does not quote {name}: {line}"


def test_the_architecture_page_names_no_room_that_is_gone(repository: Path) -> None:
    """Rows of its table and rooms on disk are the same number."""
    page = (repository / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    assert sum(line.startswith("| `bisc.") for line in page.splitlines()) == len(rooms(repository))


def test_no_file_is_longer_than_a_few_screens(repository: Path) -> None:
    """Source and tests."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in python_files(repository)}
    assert len(lengths) > 100
    long = {str(path.relative_to(repository)): n for path, n in lengths.items() if n > MAX_LINES}
    if long:
        pytest.fail(f"over {MAX_LINES} lines: {long}")
