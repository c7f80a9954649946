"""Measures of KiTS19's own label maps against what their radiologists and surgeons wrote down.

    bisc_measure -p ../shared/kits19 -o out/
    python -m benchmarks.measures out/measures.csv ../shared/kits19/kits.json -o figures/

The largest tumour of each patient: its axial diameter against `radiographic_size` and the R class of both; and of the
partial nephrectomies Spearman's correlation of its measures with ischemia time, blood loss and operative time, its
interval by resampling patients, and the same with the radiographic size held (partial ranks).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from bisc.measurement.scores import r_of
from bisc.report.style import KIDNEY_COLOUR, TUMOR_COLOUR

mpl.use("Agg")
from matplotlib import pyplot as plt

Float = npt.NDArray[np.float64]
OUTCOMES: Final = {
    "ischemia_time": "Ischemia time, min",
    "estimated_blood_loss": "Blood loss, ml",
    "operative_time": "Operative time, min",
}
MEASURES: Final = ("radiographic_mm", "axial_mm", "equivalent_mm", "volume_ml", "contact_cm2", "depth_mm", "c_index")
RESAMPLES: Final = 2000


def table(measures: Path, kits: Path) -> pd.DataFrame:
    """A row for each patient: the largest tumour by axial diameter, beside the clinical facts."""
    found = pd.read_csv(measures)
    found = found[found["organ"] == "tumor"].copy()
    found["axial_mm"] = found["axial_mm"].fillna(found["axial_mm_low"])
    largest = found.loc[found.groupby("case")["axial_mm"].idxmax()].set_index("case")
    facts = pd.DataFrame(json.loads(kits.read_text())).set_index("case_id")
    for name in OUTCOMES:
        facts[name] = pd.to_numeric(facts[name], errors="coerce")
    facts["radiographic_mm"] = 10.0 * facts["radiographic_size"]
    return largest.join(facts[["radiographic_mm", "surgical_procedure", *OUTCOMES]], how="inner")


def sizes(rows: pd.DataFrame) -> list[str]:
    """How the diameters agree."""
    lines = []
    truth = rows["radiographic_mm"].to_numpy(float)
    for name in ("axial_mm", "diameter_mm", "equivalent_mm"):
        seen = rows[name].notna().to_numpy()
        ours = rows[name].to_numpy(float)[seen]
        theirs = truth[seen]
        agree = np.mean([r_of(a) == r_of(b) for a, b in zip(ours, theirs, strict=True)])
        lines.append(
            f"{name}: n {len(ours)}, r {np.corrcoef(ours, theirs)[0, 1]:.3f}, median difference "
            f"{np.median(np.abs(ours - theirs)):.1f} mm, R class the same in {100 * agree:.0f} %"
        )
    return lines


def ranks(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Spearman's correlations of measures and outcomes, with intervals; and those beside size."""
    rng = np.random.default_rng(seed)
    partial = rows[rows["surgical_procedure"] == "partial_nephrectomy"]
    made = []
    for outcome in OUTCOMES:
        for name in MEASURES:
            pair = partial[list(dict.fromkeys([name, outcome, "radiographic_mm"]))].dropna()
            a, b, size = (pair[column].to_numpy(float) for column in (name, outcome, "radiographic_mm"))
            again = [rng.integers(0, len(a), len(a)) for _ in range(RESAMPLES)]
            row: dict[str, Any] = {"outcome": outcome, "measure": name, "n": len(a)}
            for kind, of in (("rho", _rho), ("beside size", _beside)):
                value = of(a, b, size)
                if np.isnan(value):  # size beside size
                    continue
                low, high = np.nanquantile([of(a[i], b[i], size[i]) for i in again], [0.025, 0.975])
                row[kind] = f"{value:.2f} ({low:.2f} to {high:.2f})"
            made.append(row)
    return pd.DataFrame(made)


def _rho(a: Float, b: Float, size: Float) -> float:
    return float(stats.spearmanr(a, b).statistic)


def _beside(a: Float, b: Float, size: Float) -> float:
    """The correlation of what ranks of both leave over, size taken out; nan for size itself."""
    ranked = [stats.rankdata(values) for values in (a, b, size)]
    left = [values - np.polyval(np.polyfit(ranked[2], values, 1), ranked[2]) for values in ranked[:2]]
    return float(np.corrcoef(*left)[0, 1]) if min(np.std(one) for one in left) > 1e-9 else float("nan")


def draw(rows: pd.DataFrame, out: Path) -> None:
    """Diameters against diameters, and contact surface against each outcome."""
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), constrained_layout=True)
    axes[0].plot([0, 200], [0, 200], color="0.7", lw=1)
    axes[0].scatter(rows["radiographic_mm"], rows["axial_mm"], s=12, color=TUMOR_COLOUR, edgecolor="0.3", lw=0.3)
    axes[0].set(xlabel="Radiographic size, mm", ylabel="Largest axial diameter, mm")
    partial = rows[rows["surgical_procedure"] == "partial_nephrectomy"]
    for axis, (outcome, label) in zip(axes[1:], OUTCOMES.items(), strict=True):
        pair = partial[["contact_cm2", outcome]].dropna()
        axis.scatter(pair["contact_cm2"], pair[outcome], s=12, color=KIDNEY_COLOUR, edgecolor="0.3", lw=0.3)
        axis.set(xlabel="Contact surface, cm2", ylabel=label, xscale="log")
        rho = _rho(pair["contact_cm2"].to_numpy(float), pair[outcome].to_numpy(float), np.empty(0))
        axis.set_title(f"Spearman {rho:.2f}, n {len(pair)}", fontsize=9)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=100)
    plt.close(figure)


def main() -> None:
    """Print the tables; draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measures", type=Path)
    parser.add_argument("kits", type=Path)
    parser.add_argument("-o", type=Path, default=Path("figures"))
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.o.mkdir(parents=True, exist_ok=True)
    rows = table(args.measures, args.kits)
    print("\n".join(sizes(rows)))
    print(ranks(rows, args.seed).to_string(index=False))
    draw(rows, args.o / "measures.png")


if __name__ == "__main__":
    main()
