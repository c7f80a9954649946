"""log.csv and progress.png of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bisc.system.files import atomic_file, write_text
from bisc.trainers.settings import RunSettings

TIME_COLUMNS: Final = ("step_s", "wait_s", "validation_s")


@dataclass
class EpochTimes:
    """Seconds of one epoch: computing, waiting for the loader, validating."""

    step_s: float = 0.0
    wait_s: float = 0.0
    validation_s: float = 0.0
    n_steps: int = 0

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """Time one training step."""
        begin = time.perf_counter()
        yield
        self.step_s += time.perf_counter() - begin
        self.n_steps += 1

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time one wait for the loader."""
        begin = time.perf_counter()
        yield
        self.wait_s += time.perf_counter() - begin

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Time the validation."""
        begin = time.perf_counter()
        yield
        self.validation_s += time.perf_counter() - begin


def write_log(folder: Path, settings: RunSettings, rows: list[dict[str, float]], times: EpochTimes | None) -> None:
    """Bring the log up to the last row; times of earlier epochs are kept from the file (they are in no checkpoint).

    Args:
        folder: The run's.
        settings: The run's.
        rows: One per epoch.
        times: Of the last row's epoch; None keeps what the file says of it too.
    """
    path = folder / "log.csv"
    table = pd.DataFrame(rows)
    old = _known_times(path)
    for column in TIME_COLUMNS:
        known = dict(zip(old["epoch"], old[column], strict=True))
        table[column] = pd.Series([known.get(epoch) for epoch in table["epoch"]], dtype=float)
    if times is not None:
        steps = max(times.n_steps, 1)
        table.loc[table.index[-1], list(TIME_COLUMNS)] = [
            times.step_s / steps,
            times.wait_s / steps,
            times.validation_s,
        ]
    table = table.astype({"epoch": int, "step": int})
    text, picture = table.to_csv(index=False, float_format="%.6g", lineterminator="\n"), folder / "progress.png"
    if not picture.exists() or not path.exists() or path.read_text(encoding="utf-8") != text:
        draw_progress(picture, settings, table)  # before the log: a log with its last row has its picture
    write_text(path, text)


def _known_times(path: Path) -> pd.DataFrame:
    """Epochs and their times by an earlier log; none where there is none, or it is damaged: the times are an extra,
    and the log is written anew from the checkpoint."""
    columns = ["epoch", *TIME_COLUMNS]
    try:
        old: pd.DataFrame = pd.read_csv(path)[columns].astype(float)
        return old
    except (OSError, ValueError, KeyError, TypeError):  # pandas' own errors derive from ValueError
        return pd.DataFrame({column: pd.Series(dtype=float) for column in columns})


def draw_progress(path: Path, settings: RunSettings, table: pd.DataFrame) -> None:
    """Losses and validation Dice over epochs."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.plot(table["epoch"], table["train_loss"], label="training", marker=".")
    left.plot(table["epoch"], table["val_loss"], label="validation patches", marker=".")
    left.set(xlabel="epoch", ylabel=f"loss ({settings.loss})")
    right.plot(table["epoch"], table["dice_kidney"], label="kidney (label > 0)", marker=".")
    right.plot(table["epoch"], table["dice_tumor"], label="tumour", marker=".")
    right.set(xlabel="epoch", ylabel="Dice on validation patches", ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.suptitle(f"{settings.dataset}: {settings.stage} SC-UNet, fold {settings.fold}, preset {settings.preset}")
    with atomic_file(path) as scratch:
        figure.savefig(scratch, dpi=110)
