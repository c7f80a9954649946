"""The commands the crash harness kills, each on the undisturbed results of those before it, on a tiny data set."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from bisc.pipeline.options import SKIPPED
from bisc.pipeline.rows import read_rows
from bisc.system.files import PARTIAL
from tests.robustness.crash_harness import Command

NAME = "Tiny"
RESULTS = f"results/{NAME}"
TRAINING = ["-d", NAME, "--preset", "tiny", "--device", "cpu", "--precision", "fp32"]


def links(home: Path, *names: str) -> Callable[[Path], dict[str, str]]:
    """Prepare by links to parts of the reference home, which the command only reads."""

    def prepare(folder: Path) -> dict[str, str]:
        folder.mkdir()
        for name in names:
            (folder / name).symlink_to(home / name)
        return {"BISC_HOME": str(folder)}

    return prepare


def copied_rough(home: Path) -> Callable[[Path], dict[str, str]]:
    """Prepare for the fine stage: it shares its results folder with a trained rough stage."""
    link = links(home, "raw", "preprocessed")

    def prepare(folder: Path) -> dict[str, str]:
        environment = link(folder)
        shutil.copytree(home / RESULTS / "rough", folder / RESULTS / "rough")
        return environment

    return prepare


def everything(results: Path) -> list[Path]:
    files = [p for p in results.rglob("*") if p.is_file()] if results.is_dir() else []
    return [p for p in files if not any(part.startswith(PARTIAL) for part in p.parts)]


def nothing(results: Path) -> list[Path]:
    return []


def whole_cases(results: Path) -> list[Path]:
    """Records of the fingerprint, and the files of cached or simulated cases."""
    return [p for p in everything(results) if p.parent != results]


def predicted(results: Path) -> list[Path]:
    names = [row.case for row in read_rows(results / "predictions.csv") if row.status != SKIPPED]
    return [results / folder / f"{name}.nii.gz" for name in names for folder in ("", "rough")]


def trained(results: Path) -> list[Path]:
    """A fold's files once its validation is whole; and what stood there from the start."""
    folds = [p.parent for p in results.rglob("validated.json")]
    return [p for fold in folds for p in everything(fold)]


def chain(home: Path) -> Iterator[Command]:
    """All commands in the order in which each needs the results of those before it."""
    raw = f"raw/{NAME}"
    for n in (1, 2):
        yield Command(
            f"plan_and_preprocess -np {n}",
            lambda _, n=n: ["plan_and_preprocess", "-d", NAME, "-np", str(n)],  # type: ignore[misc]
            (),
            links(home, "raw"),
            "preprocessed",
            lambda results: whole_cases(results / NAME),
        )
    yield Command(
        "train rough",
        lambda _: ["train", "rough", "0", *TRAINING],
        ("--continue",),
        links(home, "raw", "preprocessed"),
        "results",
        trained,
    )
    yield Command(
        "train fine",
        lambda _: ["train", "fine", "0", *TRAINING, "--workers", "1"],
        ("--continue",),
        copied_rough(home),
        "results",
        trained,
    )
    yield Command(
        "predict",
        lambda _: ["predict", "-i", raw, "-o", "out", "--device", "cpu", "--precision", "fp32", "--save-rough"],
        ("--continue",),
        links(home, "raw", "results"),
        "out",
        predicted,
    )
    yield Command(
        "evaluate -r -p",
        lambda _: ["evaluate", "-r", raw, "-p", "out", "-o", "report/report.csv", "-np", "2"],
        (),
        links(home, "raw", "out"),
        "report",
        everything,
    )
    yield Command(
        "evaluate (folds)",
        lambda _: ["evaluate", "-d", NAME, "-o", "report/report.csv"],
        (),
        links(home, "raw", "results"),
        "report",
        everything,
    )
    yield Command(
        "simulate",
        lambda _: ["simulate", "-o", "out", "-n", "4", "--size", "64", "64", "24", "--seed", "5", "-np", "2"],
        (),
        links(home),
        "out",
        whole_cases,
    )
