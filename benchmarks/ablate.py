"""Ways to train one stage, compared at equal seconds or steps: arms and seeds in turn, scored on the fold's validation
regions.

    python -m benchmarks.ablate bisc_data/preprocessed/Demo -o bench_out --seconds 120 --seeds 1 2 3 \
        --arm "branches:edges=branches" --arm "heads:edges=heads" --arm "off:edges=off;learning_rate=0.03"

An arm is a name and settings of a run (`bisc.trainers.settings.RunSettings`) that replace the preset's; `narrows=true`
lets a budget of seconds choose smaller sizes, as `bisc_train --minutes` does with the preset `best`. Every run goes to
ablate.csv at once, so that arms can be added piece by piece; the table has means over seeds, and paired differences
from the first arm with a 95 % interval, bootstrapped by patient over all seeds. With --steps every arm gets as many.
With --calibrated there is a second table, decided by offsets that were fitted on the other half of the patients.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.race_table import interval
from benchmarks.table import machine
from bisc.core.labels import labels_of
from bisc.evaluation.overlap import dice
from bisc.inference.cascade import NO_OFFSETS, Offsets, decide
from bisc.inference.model import load_stage
from bisc.inference.windows import softmax_volume
from bisc.network.device import choose_device
from bisc.pipeline.calibrate import OffsetFit
from bisc.planners.dataset import load_plan
from bisc.preprocessing.cache import load_regions
from bisc.trainers.budget import within_budget
from bisc.trainers.presets import preset_by_name
from bisc.trainers.settings import RunSettings, run_settings
from bisc.trainers.stages import TRAINERS, load_fold

TABLE: Final = "ablate.csv"
KEYS: Final = ("dice_kidney", "dice_tumor")
EPOCHS: Final = 4


def main() -> None:
    """Train and score every arm with every seed that has no row yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preprocessed", type=Path)
    parser.add_argument("-o", dest="out", type=Path, default=Path("bench_out"))
    parser.add_argument("--stage", default="fine", choices=tuple(TRAINERS))
    parser.add_argument("--preset", default="demo")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--seconds", type=float, default=120.0)
    budget.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--device")
    parser.add_argument("--calibrated", action="store_true")
    parser.add_argument("--arm", action="append", required=True, metavar="NAME:KEY=VALUE;...")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    table = args.out / TABLE
    for seed in args.seeds:
        for name, changes in map(parsed, args.arm):
            done = recorded(table)
            same = (done.arm == name) & (done.seed == seed) & (done.budget == budget_of(args))
            if {"argmax", *(["calibrated"] if args.calibrated else [])} <= set(done[same].decision):
                continue
            rows = trained(args, seed, name, changes)
            pd.concat([done[~same], rows] if len(done) else [rows]).to_csv(table, index=False)
            means = rows.groupby("decision")[list(KEYS)].mean().round(4).to_dict("index")
            print(f"{name} seed {seed}: {rows.steps[0]} steps", means, flush=True)
    rows = recorded(table)
    for decision, own in rows[rows.budget == budget_of(args)].groupby("decision"):
        print(f"By {decision}:\n\n{summary(own)}\n")


def recorded(table: Path) -> pd.DataFrame:
    """The runs so far; those of before there was a second decision were decided by argmax."""
    if not table.exists():
        return pd.DataFrame(columns=["arm", "seed", "budget", "decision"])
    rows = pd.read_csv(table)
    rows["decision"] = rows.decision.fillna("argmax") if "decision" in rows else "argmax"
    return rows


def budget_of(args: argparse.Namespace) -> str:
    """What each run is given, in words."""
    return f"{args.steps} steps" if args.steps else f"{args.seconds:g} s"


def parsed(arm: str) -> tuple[str, dict[str, Any]]:
    """Name and changes of 'NAME:KEY=VALUE;...'; values are JSON, or words."""
    name, _, rest = arm.partition(":")
    changes: dict[str, Any] = {}
    for pair in filter(None, rest.split(";")):
        key, _, value = pair.partition("=")
        try:
            changes[key] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            changes[key] = value
    return name, changes


def trained(args: argparse.Namespace, seed: int, name: str, changes: dict[str, Any]) -> pd.DataFrame:
    """A row for each validation case of one arm trained with one seed."""
    device = choose_device(args.device)
    plan = load_plan(args.preprocessed)
    narrows = changes.pop("narrows", False)
    settings = run_settings(plan, args.stage, 0, preset_by_name(args.preset), device.precision, seed=seed)
    settings = msgspec.convert({**msgspec.to_builtins(settings), "epochs": EPOCHS, **changes}, RunSettings)
    device = device.for_patch(settings.patch_size_zyx)
    with TemporaryDirectory() as results:
        trainer = TRAINERS[args.stage](
            msgspec.structs.replace(settings, precision=device.precision), args.preprocessed, Path(results), device
        )
        begin = time.monotonic()
        if args.steps:
            trainer.settings = msgspec.structs.replace(trainer.settings, iterations=max(1, args.steps // EPOCHS))
        else:
            trainer.settings = within_budget(trainer, args.seconds, narrows)
        trainer.run()
        common = {"arm": name, "seed": seed, "budget": budget_of(args), "took_s": round(time.monotonic() - begin, 1)}
        networks = load_stage(Path(results), args.stage, [0], device)
    common |= {"steps": trainer.settings.total_steps}
    rows, kept = [], {}
    for case in load_fold(args.preprocessed, 0).val:
        regions = load_regions(args.preprocessed / args.stage / case)
        if regions:  # else a scan without a kidney
            softmax = [softmax_volume(networks, r.image(plan.intensity), plan.intensity.air) for r in regions]
            regional = softmax, [labels_of(r.targets) for r in regions]
            rows.append({**common, "case": case, "decision": "argmax", **scored(*regional, NO_OFFSETS)})
            if args.calibrated:
                kept[case] = regional
    for half in (list(kept)[::2], list(kept)[1::2]):
        fit = OffsetFit()
        for case in (other for other in kept if other not in half):
            fit.add(*kept[case])
        fitted = fit.fit() if half else NO_OFFSETS
        rows += [{**common, "case": case, "decision": "calibrated", **scored(*kept[case], fitted)} for case in half]
    return pd.DataFrame(rows)


def scored(
    softmax: list[npt.NDArray[np.float32]], labels: list[npt.NDArray[np.uint8]], offsets: Offsets
) -> dict[str, float]:
    """Dice of kidney with tumour and of tumour, over all regions of a case."""
    found = np.concatenate([decide(p, offsets).ravel() for p in softmax])
    truth = np.concatenate([y.ravel() for y in labels])
    return {key: dice(truth >= least, found >= least) for key, least in zip(KEYS, (1, 2), strict=True)}


def summary(rows: pd.DataFrame) -> str:
    """Means per arm, and differences from the first one, paired by seed and case."""
    first = rows[rows.arm == rows.arm.iloc[0]]
    lines = [
        "| arm | seeds | steps | seconds | kidney | tumour | tumour, less the first arm's (95 %) |",
        "| --- |" + " --- |" * 6,
    ]
    for arm, own in rows.groupby("arm", sort=False):
        both = own.merge(first, on=["seed", "case"], suffixes=("", "_first"))
        gain = (both.dice_tumor - both.dice_tumor_first).groupby(both.case).mean().to_numpy()
        low, high = interval(gain)
        lines.append(
            f"| {arm} | {own.seed.nunique()} | {own.steps.mean():.0f} | {own.took_s.mean():.0f} | "
            f"{own.dice_kidney.mean():.3f} | {own.dice_tumor.mean():.3f} | "
            f"{gain.mean():+.3f} ({low:+.3f} to {high:+.3f}) |"
        )
    return "\n".join([*lines, "", f"{rows.budget.iloc[0]} each; {machine()}."])


if __name__ == "__main__":
    main()
