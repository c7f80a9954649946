"""Where the seconds of a prediction go: one KiTS-size scan, from the command's start to the written mask, as a picture.

    python -m benchmarks.spans [-o bench_out] [--repeats 3]

Each part's own time, that of the parts within it taken off; the command's start and imports are what is left of the
process. Medians over the runs.
"""

from __future__ import annotations

import functools
import importlib
import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks import scans, table
from benchmarks.by_intensity import write_results
from benchmarks.peers import plain_parser

PARTS: Final = {
    "bisc.inference.model:load_model": "load the model",
    "bisc.pipeline.predict:read_image": "read and check the file",
    "bisc.pipeline.predict:check_hu": "check its HU",
    "bisc.inference.cascade:run_rough": "rough: other",
    "bisc.inference.cascade:body_middle_mm": "find the body's middle",
    "bisc.inference.cascade:locate": "find the ROIs",
    "bisc.inference.cascade:resample": "{within}: resample HU",
    "bisc.inference.cascade:softmax_volume": "{within}: network",
    "bisc.inference.cascade:_to_native": "softmax to the native grid",
    "bisc.inference.cascade:labels_of_rois": "decide, drop strays",
    "bisc.pipeline.predict:write_image": "write the mask",
    "bisc.pipeline.predict:_row": "volumes and status",
}
"""Function -> name; called within `run_rough` {within} is 'rough', elsewhere 'fine'."""
ROUGH: Final = "bisc.inference.cascade:run_rough"
START: Final = "start, imports, end"
OTHER: Final = "all else"


class Clock:
    """Own seconds per part of the functions that it wraps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]
        self._within = "fine"

    def wrap(self, path: str) -> None:
        """Replace a function in its module by one that is timed."""
        module_name, name = path.split(":")
        module = importlib.import_module(module_name)
        setattr(module, name, self._timed(getattr(module, name), path))

    def _timed(self, function: Callable[..., Any], path: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            before, self._within = self._within, "rough" if path == ROUGH else self._within
            label = PARTS[path].format(within=self._within)
            self._inner.append(0.0)
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.perf_counter() - begin
                self.seconds[label] += spent - self._inner.pop()
                self._inner[-1] += spent
                self._within = before

        return timed


def inside(argv: list[str]) -> None:
    """In a process of its own: predict, and print the parts' seconds as JSON."""
    clock = Clock()
    for path in PARTS:
        clock.wrap(path)
    from bisc.cli import predict

    begin = time.perf_counter()
    assert predict.main(argv) == 0
    clock.seconds[OTHER] = time.perf_counter() - begin - sum(clock.seconds.values())
    print(json.dumps(clock.seconds))


def one_run(argv: list[str]) -> dict[str, float]:
    """Seconds per part, with what the process took beside them."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.spans", "--inside", *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    parts: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {START: time.perf_counter() - begin - sum(parts.values()), **parts}


def draw(path: Path, medians: pd.Series) -> None:
    """A bar per part, the largest on top, with its share."""
    ordered = medians.sort_values()
    figure = Figure(figsize=(8.0, 0.32 * len(ordered) + 1.1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    bars = axes.barh(ordered.index, ordered, color=table.COLOURS[0])
    total = float(ordered.sum())
    axes.bar_label(bars, labels=[f"{v:.2f} s   {v / total:.0%}" for v in ordered], padding=4, fontsize=8)
    axes.set_xlim(0, float(ordered.max()) * 1.2)
    axes.set_xlabel("seconds", fontsize=9)
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"One CT of 512 x 512 x 108, {total:.1f} s: where the time goes", fontsize=10)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Write spans.csv and spans.png."""
    args = plain_parser(__doc__).parse_args()
    work = args.out / "work"
    scan = scans.painted(work / "in" / "case_00000.nii.gz")
    write_results(work / "model")
    runs = []
    for _ in range(args.repeats):
        shutil.rmtree(work / "spans_out", ignore_errors=True)
        runs.append(one_run(["-i", str(scan), "-o", str(work / "spans_out"), "-d", str(work / "model")]))
    frame = pd.DataFrame(runs)
    frame.to_csv(args.out / "spans.csv", index=False)
    medians = frame.median()
    draw(args.out / "spans.png", medians)
    print(medians.sort_values(ascending=False).round(3).to_string(), f"\n{table.machine()}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2:])
    else:
        main()
