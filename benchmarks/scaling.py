"""How time and memory of a prediction grow with slices, in-plane size and cases, and of preprocessing with workers.

    python -m benchmarks.scaling [-o bench_out] [--repeats 2]

A power law is fitted to each series; an exponent of 1 is linear growth. Starting costs the same for every size and
would flatten the law, so series of four and more sizes are fitted without the smallest. A prediction uses all cores
for one case: workers are varied where there are any, in plan and preprocess.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks import preprocess, scans, table
from benchmarks.by_intensity import write_results
from benchmarks.large_case import EXTENT_Z_MM, write_scan
from benchmarks.peers import plain_parser
from benchmarks.predict import ours

SLICES = (29, 108, 350, 611, 1059)
IN_PLANE = (256, 384, 512, 768)
CASES = (1, 2, 4)
WORKERS = (1, 2, 4)
CASES_TO_SHARE = 4
FEWEST_TO_FIT = 3
SERIES = {
    "slices": "slices of one 530 mm long scan",
    "length": "slices 1 mm apart",
    "in_plane": "pixels along a side, 108 slices",
    "cases": "cases of 512 x 512 x 108",
    "workers": f"workers preprocessing {CASES_TO_SHARE} cases",
}


def main() -> None:
    """Write scaling.csv and scaling.png, and print the exponents."""
    args = plain_parser(__doc__, repeats=2).parse_args()
    work = args.out / "work_scaling"
    write_results(work / "model")
    sizes = [("slices", n, (512, n, 1)) for n in SLICES] + [("length", n, (512, n, 1)) for n in SLICES]
    sizes += [("in_plane", n, (n, 108, 1)) for n in IN_PLANE] + [("cases", n, (512, 108, n)) for n in CASES]
    rows = []
    for series, n, (in_plane, slices, cases) in sizes:
        extent = float(n) if series == "length" else EXTENT_Z_MM
        shutil.rmtree(work / "in", ignore_errors=True)
        for i in range(cases):
            write_scan(work / "in" / f"case_{i:05d}.nii.gz", slices, in_plane, extent_z_mm=extent)
        for _ in range(args.repeats):
            rows.append({"series": series, "n": n, **vars(ours(work / "in", work))})
            print(rows[-1], flush=True)
    raw = scans.simulated(work / "raw" / "Simulated", CASES_TO_SHARE)
    for n in WORKERS:
        for _ in range(args.repeats):
            rows.append({"series": "workers", "n": n, **vars(preprocess.ours(raw, work / "preprocessed", n)[0])})
            print(rows[-1], flush=True)
    shutil.rmtree(work, ignore_errors=True)
    runs = pd.DataFrame(rows)
    runs.to_csv(args.out / "scaling.csv", index=False)
    draw(args.out / "scaling.png", runs)
    print(exponents(runs).to_string(index=False), f"\n{table.machine()}")


def exponents(runs: pd.DataFrame) -> pd.DataFrame:
    """The power law's exponent per series and measure, by least squares on logarithms of medians."""
    rows = []
    for series, part in runs.groupby("series", sort=False):
        medians = part.groupby("n")[["wall_s", "peak_gb"]].median()
        medians = medians.iloc[1:] if len(medians) > FEWEST_TO_FIT else medians
        fits = {m: np.polyfit(np.log(medians.index), np.log(medians[m]), 1)[0] for m in medians}
        rows.append({"series": series, **{m: round(float(v), 2) for m, v in fits.items()}})
    return pd.DataFrame(rows)


def draw(path: Path, runs: pd.DataFrame) -> None:
    """Seconds and gigabytes over each series, on logarithmic axes.

    Dashed is linear growth, and for seconds over workers work that is shared without loss.
    """
    figure = Figure(figsize=(14, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(SERIES), sharey="row")
    fits = exponents(runs).set_index("series")
    for column, (series, label) in enumerate(SERIES.items()):
        medians = runs[runs["series"] == series].groupby("n")[["wall_s", "peak_gb"]].median()
        for ax, (measure, unit) in zip(axes[:, column], (("wall_s", "seconds"), ("peak_gb", "GB, peak")), strict=True):
            ax.loglog(medians.index, medians[measure], marker="o", color=table.COLOURS[0])
            linear = -1.0 if (series, measure) == ("workers", "wall_s") else 1.0
            line = medians.iloc[0][measure] * (medians.index.to_numpy() / medians.index[0]) ** linear
            ax.loglog(medians.index, line, "--", color="#999999", lw=1)
            ax.set_title(f"exponent {fits.loc[series, measure]:.2f}", fontsize=9)
            ax.set_xticks(list(medians.index), [str(n) for n in medians.index], fontsize=8)
            ax.minorticks_off()
            if column == 0:
                ax.set_ylabel(unit)
        axes[1, column].set_xlabel(label)
    figure.suptitle("As scans, cases and workers grow (dashed: linear, or work shared without loss)", fontsize=11)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
