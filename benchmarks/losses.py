"""Which loss, and which T? Trains one stage of fold 0 by each loss for the same number of steps on the demo's data.

    bisc_demo -o bisc_demo
    python -m benchmarks.losses bisc_demo --stage rough --steps 72 --thresholds 0
    python -m benchmarks.losses bisc_demo --stage fine --steps 150

Rough stage: 0.8 x kidney and 0.2 x tumour Dice on its own grid. Fine stage: Dice of the whole cascade on the fold's
validation cases, behind the demo's own rough stage, so that the loss of the fine stage is all that differs. Every
run has the demo preset's sizes, rate, schedule and seed. Writes STAGE_losses.csv into the demo's folder and prints it
in Markdown.
"""

from __future__ import annotations

import argparse
import os
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pandas as pd

from bisc.cli import train
from bisc.core.choices import DECISIONS
from bisc.evaluation.tables import to_markdown
from bisc.losses import takes_threshold

NAME = "Demo"


def main() -> None:
    """One row per loss, T and decision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="output folder of bisc_demo")
    parser.add_argument("--stage", choices=("rough", "fine"), default="fine")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.0, 0.1, 0.3, 0.5], metavar="T")
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    for loss, threshold in [("dice_ce", 0.0), ("ce", 0.0), *(("balanced_ce", t) for t in args.thresholds)]:
        rows += run_one(args.demo, args.stage, loss, threshold, args.steps)
        frame = pd.DataFrame(rows)
        frame.to_csv(args.demo / f"{args.stage}_losses.csv", index=False)
    texts = frame.map(lambda v: "" if v is None or v != v else f"{v:.3f}" if isinstance(v, float) else str(v))
    print(to_markdown(texts), end="")


def run_one(demo: Path, stage: str, loss: str, threshold: float, steps: int) -> list[dict[str, object]]:
    """Train and validate; one row per decision."""
    results = demo / f"losses_{stage}" / f"{loss}_{threshold:g}"
    os.environ.update(BISC_PREPROCESSED=str(demo / "preprocessed"), BISC_RESULTS=str(results))
    if stage == "fine" and not (results / NAME / "rough").exists():
        shutil.copytree(demo / "results" / NAME / "rough", results / NAME / "rough")
    argv = [stage, "0", "-d", NAME, "--preset", "demo", "--device", "cpu", "--continue"]
    argv += ["--loss", loss, "--epochs", "1", "--iterations", str(steps)]
    argv += ["--loss-threshold", str(threshold)] if takes_threshold(loss) else []
    said = StringIO()
    with redirect_stdout(said):
        status = train.main(argv)
    if status:
        raise SystemExit(status)
    what = {"loss": loss, "T": threshold if takes_threshold(loss) else None, "steps": steps}
    return [{**what, "decision": d, **_scores(results, stage, d, said.getvalue())} for d in DECISIONS]


def _scores(results: Path, stage: str, decision: str, said: str) -> dict[str, float]:
    if stage == "rough":
        words = next(line for line in said.splitlines() if "weighted Dice" in line).replace(",", "").split()
        return {"dice_weighted": float(words[words.index(decision) - 1])}
    path = results / NAME / "fine" / "fold_0" / "validation" / f"report_{decision}.csv"
    frame = pd.read_csv(path)
    scores = {m: float(frame[m].mean()) for m in ("dice_kidney", "dice_tumor", "dice_composite")}
    ratio = frame["volume_tumor_pred_ml"].sum() / frame["volume_tumor_ref_ml"].sum()
    return {**scores, "tumor_volume_ratio": float(ratio)}


if __name__ == "__main__":
    main()
