"""Risks and limits fitted on some patients, and how they do on others; tables by `python -m benchmarks.flags`.

    python -m benchmarks.flags_fit bench_out/flags/fit*.csv --test bench_out/flags/test*.csv -o bench_out/flags

Prints the constants of `bisc.inference.light` and `bisc.measurement.intervals` as the first tables give them, and of
the second tables, by the constants that the code has: AUROC and calibration of the risks, what the lights caught, the
coverage of intervals. Draws ROC and risk-coverage curves.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from bisc.core.flags import LIGHTS
from bisc.inference.light import KIDNEY, TUMOR, Term, judged
from bisc.measurement.intervals import DIAMETER, NOMINAL, VOLUME, Widening
from bisc.preprocessing.segments import Organ

GOOD: Final = 0.8
"""A Dice below it is wrong."""
SURE: Final = 0.01
"""A limit leaves so many of the right masks beyond it."""
DRAWN: Final = 0.5
"""The Dice from which on a segment is the one that it overlaps most."""
LEAST_ML: Final = 0.05
RIDGE: Final = 0.1
"""scikit-learn's C on standardised numbers: small, so that no number peculiar to one model decides alone."""
BOOTSTRAPS: Final = 2000
QUANTILES: Final = (
    "expected_dice",
    "margin",
    "rough_dice",
    "left_out_share",
    "unsure_share",
    "hu_spread",
    "fat_share",
    "outline_agreement",
)
Wrong = npt.NDArray[np.bool_]


def main() -> None:
    """Fit, tell, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fit", type=Path, nargs="+", help="tables to fit on")
    parser.add_argument("--test", type=Path, nargs="+", required=True, help="tables of other patients")
    parser.add_argument("-o", dest="out", type=Path, default=Path("bench_out/flags"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    fit, test = read(args.fit), read(args.test)
    tell_fit(fit)
    tell_intervals(*(segments_of(paths) for paths in (args.fit, args.test)))
    test["risk"], test["kidney_risk"], test["tumor_risk"], test["light"] = zip(*map(judge, rows(test)), strict=True)
    for source, part in [("all", test), *test.groupby("source")]:
        tell_test(str(source), part)
    draw(test, args.out / "flags.png")


def read(paths: Sequence[Path]) -> pd.DataFrame:
    """Rows of tables, but for cases that the cascade refused."""
    table = pd.concat([pd.read_csv(path).assign(source=path.stem) for path in paths], ignore_index=True)
    return table[table["excess"] == 0].reset_index(drop=True)


def rows(table: pd.DataFrame) -> list[dict[str, float | None]]:
    """Their numbers, as a prediction has them: what is empty is None."""
    numeric = table.select_dtypes("number")
    return [{str(k): None if pd.isna(v) else float(v) for k, v in row.items()} for row in numeric.to_dict("records")]


def judge(numbers: dict[str, float | None]) -> tuple[float, float, float, str]:
    """Risk, both parts of it, and light, by the constants of the code."""
    flags = judged(numbers)
    of = {flag.name: flag.value for flag in flags.flags}
    return flags.risk or 0.0, of["kidney_risk"] or 0.0, of["tumor_risk"] or 0.0, flags.light


@dataclass(frozen=True)
class Definitions:
    """What is wrong, by several definitions, a value a case."""

    kidney: Wrong
    tumor: Wrong
    composite: Wrong
    strict: Wrong

    @property
    def mask(self) -> Wrong:
        """The risk's own."""
        return self.kidney | self.tumor


def wrong(table: pd.DataFrame) -> Definitions:
    """Kidney: Dice below 0.8. Tumour: one of the truth not found, Dice below 0.8 where there is one, or one marked
    where there is none. Composite: mean of both Dice below 0.8. Strict: any of the first two, or any tumour made up."""
    there = table["tumors_ref"] > 0
    kidney = (table["dice_kidney"] < GOOD).to_numpy()
    missed = (table["tumors_found"] < table["tumors_ref"]) | (there & (table["dice_tumor"] < GOOD))
    tumor = (missed | (~there & (table["volume_tumor_pred_ml"] > LEAST_ML))).to_numpy()
    strict = kidney | tumor | (table["tumors_false"] > 0).to_numpy()
    return Definitions(kidney, tumor, (table["dice_composite"] < GOOD).to_numpy(), strict)


def tell_fit(table: pd.DataFrame) -> None:
    """Coefficients of both risks, that of an empty mask, and limits that few right masks exceed."""
    empty = table["kidneys"] == 0
    of = wrong(table)
    print(f"fit: {len(table)} cases, {empty.sum()} empty, of these wrong {of.kidney[empty].sum()}")
    numbers = rows(table[~empty])
    for name, terms, y in (("kidney_risk", KIDNEY, of.kidney), ("tumor_risk", TUMOR, of.tumor)):
        x = np.array([[made(term, row) for term in terms] for row in numbers])
        centre, scale = x.mean(axis=0), x.std(axis=0)
        fitted = LogisticRegression(C=RIDGE).fit((x - centre) / scale, y[~empty])
        coefficients = fitted.coef_[0] / scale
        print(f"{name}: {y[~empty].mean():.3f} wrong; intercept {fitted.intercept_[0] - coefficients @ centre:.3f}")
        for term, coefficient in zip(terms, coefficients, strict=True):
            print(f"    {term.name}: {coefficient:.3f}")
    print(table[~of.kidney & ~empty][list(QUANTILES)].quantile([SURE, 0.05, 0.95, 1 - SURE]).round(3).to_string())


def made(term: Term, numbers: dict[str, float | None]) -> float:
    """What a term makes of its number."""
    value = numbers.get(term.name)
    return term.missing if value is None else term.of(value)


def tell_test(source: str, table: pd.DataFrame) -> None:
    """AUROC with 95 % intervals over patients, calibration, lights."""
    of = wrong(table)
    print(f"\n{source}: {len(table)} cases")
    measures = {"kidney": "kidney_risk", "tumor": "tumor_risk", "mask": "risk", "composite": "risk", "strict": "risk"}
    for name, score in measures.items():
        y, p = getattr(of, name), table[score].to_numpy(float)
        if 0 < y.sum() < y.size:
            low, high = bootstrapped(y, p)
            brier, base = np.mean((p - y) ** 2), y.mean() * (1 - y.mean())
            print(
                f"  {name} ({y.sum()} wrong): AUROC of {score} {roc_auc_score(y, p):.3f} ({low:.3f} to {high:.3f}), "
                f"mean risk {p.mean():.2f} beside {y.mean():.2f}, Brier {brier:.3f} beside {base:.3f}"
            )
    for light in LIGHTS:
        own = (table["light"] == light).to_numpy()
        print(f"  {light}: {own.sum()}, of these wrong: kidneys {of.kidney[own].sum()}, mask {of.mask[own].sum()}")


def bootstrapped(y: Wrong, score: npt.NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """95 % interval of an AUROC; a row is a patient."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(BOOTSTRAPS):
        drawn = rng.integers(y.size, size=y.size)
        if 0 < y[drawn].sum() < y.size:
            found.append(roc_auc_score(y[drawn], score[drawn]))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def segments_of(paths: Sequence[Path]) -> pd.DataFrame:
    """Kidneys and tumours that overlap one of the truth."""
    table = pd.concat([pd.read_csv(path.with_name(f"{path.stem}_segments.csv")) for path in paths], ignore_index=True)
    return table[table["found"] & (table["ml"] >= LEAST_ML)]


def tell_intervals(fit: pd.DataFrame, test: pd.DataFrame) -> None:
    """The factor that widens intervals to their nominal coverage, and the coverage by the code's on others."""
    sizes: tuple[tuple[Organ, str, Mapping[Organ, Widening]], ...] = (
        ("kidney", "ml", VOLUME),
        ("tumor", "ml", VOLUME),
        ("tumor", "mm", DIAMETER),
    )
    for organ, size, code in sizes:
        share, widening = code[organ].share, code[organ]
        of_fit, of_test = (t[(t["organ"] == organ) & (t["dice"] >= DRAWN)] for t in (fit, test))
        needed = np.sort(factors(of_fit, size, share))
        at = min(int(np.ceil(NOMINAL * (needed.size + 1))), needed.size) - 1
        every = test[test["organ"] == organ]
        half = widening.factor * (of_test[f"{size}_lax"] - of_test[f"{size}_strict"]) / 2 + share * of_test[size]
        print(
            f"{organ} {size}: share {share}, factor {needed[at]:.2f} (n {needed.size}); in the code {widening}: covers "
            f"{covered(of_test, size, widening.factor, share):.3f} of {len(of_test)} drawn, "
            f"{covered(every, size, widening.factor, share):.3f} of all {len(every)} found; median half width "
            f"{(half / of_test[size]).median():.1%}"
        )


def factors(table: pd.DataFrame, size: str, share: float) -> npt.NDArray[np.float64]:
    """The factor that each segment's interval would need to hold the true size; 0 where the share is enough."""
    own, true = table[size], table[f"{size}_true"]
    shifted = np.where(true > own, table[f"{size}_lax"], table[f"{size}_strict"])
    return np.asarray(np.maximum((np.abs(true - own) - share * own) / np.maximum(np.abs(shifted - own), 1e-9), 0.0))


def covered(table: pd.DataFrame, size: str, factor: float, share: float) -> float:
    """The share of true sizes within their intervals."""
    return float((factors(table, size, share) <= factor).mean())


def draw(table: pd.DataFrame, path: Path) -> None:
    """ROC by definition; and the share of wrong masks among those kept, as the risk that is accepted grows."""
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    roc, kept = figure.subplots(1, 2)
    of = wrong(table)
    for label, y, score in (
        ("kidneys", of.kidney, table["kidney_risk"]),
        ("tumours", of.tumor, table["tumor_risk"]),
        ("either", of.mask, table["risk"]),
    ):
        auc = roc_auc_score(y, score)
        false, true, _ = roc_curve(y, score)
        (line,) = roc.plot(false, true, label=f"{label}: {auc:.2f}")
        order = np.argsort(score.to_numpy(float), kind="stable")
        share = np.arange(1, y.size + 1)
        kept.plot(share / y.size, np.cumsum(y[order]) / share, color=line.get_color(), label=label)
    roc.plot([0, 1], [0, 1], color="#c8c8c8", linewidth=1)
    roc.set(xlabel="right masks called wrong", ylabel="wrong masks found", title="ROC (AUROC)")
    kept.set(xlabel="cases kept, least risk first", ylabel="wrong among them", title="Risk and coverage", ylim=(0, 1))
    for axes in (roc, kept):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
