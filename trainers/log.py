"""log.csv and progress.png of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

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


@dataclass
class BranchLosses:
    """Sums of each branch's loss over an epoch, left on the device.

    They are in no checkpoint: an epoch that was interrupted has none, rather than those of its last part.
    """

    names: tuple[str, ...] = ()
    sums: Tensor | None = None
    n: int = 0

    def add(self, passes: list[dict[str, Tensor]]) -> None:
        """Count a step's passes, each with its losses by branch."""
        for losses in passes:
            self.names = tuple(losses)
            parts = torch.stack([loss.detach() for loss in losses.values()])
            self.sums = parts if self.sums is None else self.sums + parts
            self.n += 1

    def means(self, name: str, n_passes: int) -> dict[str, float]:
        """`name/BRANCH`, means over the passes; nothing where there were not `n_passes`."""
        if self.sums is None or self.n != n_passes:
            return {}
        return {f"{name}/{branch}": float(v) / self.n for branch, v in zip(self.names, self.sums, strict=True)}


def write_log(
    folder: Path, settings: RunSettings, rows: list[dict[str, float]], times: EpochTimes | None
) -> dict[int, dict[str, float]]:
    """Bring the log up to the last row; times of earlier epochs are kept from the file (they are in no checkpoint).

    Args:
        folder: The run's.
        settings: The run's.
        rows: One per epoch.
        times: Of the last row's epoch; None keeps what the file says of it too.

    Returns:
        The log's rows by step; a time that is not known is NaN.
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
    return {row["step"]: {str(name): value for name, value in row.items()} for row in table.to_dict("records")}


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
