"""The race: our presets and nnU-Net's configurations, each trained for the same wall minutes on the same cases.

    python -m benchmarks.race WORK --minutes 20 --seed 1 --contestant best
    python -m benchmarks.race WORK --minutes 20 --seed 1 --contestant nnunet:3d_fullres
    python -m benchmarks.race WORK                                     # the table of all that was run

    python -m benchmarks.race WORK --maps DIR --test DIR --minutes 1.5 --device cuda --contestant best

Without label maps the cases are procedural and small, for a CPU: 200 to train and validate on, 24 of other patients to
test on, 128 x 128 x 32. Both sides train on fold 0's training cases. A budget holds all of a training from the start
of its process to its last checkpoint, both of our stages together; caches are made before. nnU-Net's poly
decay ends with the budget; its prediction does without mirroring, as ours. Both are scored by argmax; a missed kidney
is 0. Every run appends its test cases to WORK/race.csv: a race can be run piece by piece, and whatever was run stays in
the table.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks.measure import run
from benchmarks.peers import DATASET_ID, NnUNet, install
from benchmarks.race_table import draw, table_of

TABLE: Final = "race.csv"
NAME: Final = "Race"
SIZE: Final = ("128", "128", "32")
N_TRAIN, N_TEST = 200, 24
SEEDS: Final = {"train": "11", "test": "77"}
ROUGH_SHARE: Final = 0.2
"""Of our budget; the fine stage has the rest."""
START_S: Final = 6.0
"""Of a command of ours, its imports, before its own clock begins."""
RESENC: Final = ("resenc_m", "nnUNetPlannerResEncM", "nnUNetResEncUNetMPlans")


def main() -> None:
    """Run one contestant, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument(
        "--contestant", help="a preset of ours, or nnunet:3d_fullres, nnunet:3d_lowres, nnunet:resenc_m"
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--maps", type=Path, help="KiTS19-layout label maps to paint training cases on")
    parser.add_argument("--test", type=Path, help="the same of other patients, to test on")
    parser.add_argument("--peers", type=Path, default=Path(".bench/peers"))
    parser.add_argument("-np", dest="n_workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    args.work = args.work.resolve()
    if args.contestant:
        prepare(args)
        race = nnunet if args.contestant.startswith("nnunet:") else ours
        append(args, race(args))
    rows = pd.read_csv(args.work / TABLE)
    text = table_of(rows)
    (args.work / "race.md").write_text(text)
    draw(rows, args.work / "race.png")
    print(text)


def prepare(args: argparse.Namespace) -> None:
    """Simulate, plan and cache, unless an earlier run has."""
    for part, maps, first, n in (("raw/Race", args.maps, 0, N_TRAIN), ("test", args.test, 1000, N_TEST)):
        kind = "test" if part == "test" else "train"
        painted = ["-l", maps] if maps else ["-n", n, "--start-index", first, "--size", *SIZE]
        bisc(args, "simulate", "-o", args.work / part, *painted, "--seed", SEEDS[kind], "-np", args.n_workers)
    bisc(args, "plan_and_preprocess", "-d", NAME, "-np", args.n_workers)


def ours(args: argparse.Namespace) -> dict[str, Any]:
    """Both stages of a preset, and the argmax masks of the test cases."""
    home = args.work / "ours" / label(args)
    shutil.rmtree(home, ignore_errors=True)
    seconds = 60.0 * args.minutes
    begin = time.monotonic()
    for stage in ("rough", "fine"):
        left = ROUGH_SHARE * seconds if stage == "rough" else seconds - (time.monotonic() - begin)
        what = [stage, "0", "-d", NAME, "--preset", args.contestant, "--device", args.device, "--no-validation"]
        how = ["--minutes", (left - START_S) / 60.0, "--seed", args.seed]
        bisc(args, "train", *what, *how, results=home)
    took = time.monotonic() - begin
    masks = home / "masks"
    where = ["-i", args.work / "test", "-o", masks, "-d", NAME, "--device", args.device]
    bisc(args, "predict", *where, "--decision", "argmax", results=home)
    steps = [json.loads((home / NAME / stage / "fold_0/run.json").read_text()) for stage in ("rough", "fine")]
    return {"masks": masks, "train_s": took, "steps": "+".join(str(s["epochs"] * s["iterations"]) for s in steps)}


def nnunet(args: argparse.Namespace) -> dict[str, Any]:
    """nnU-Net's trainer, and the masks of the test cases."""
    configuration = args.contestant.removeprefix("nnunet:")
    peer = NnUNet(install(args.peers), args.work / "nnunet")
    peer.env |= {"nnUNet_n_proc_DA": str(max(2, args.n_workers - 3)), "nnUNet_compile": "f"}
    peer.take(args.work / "raw" / NAME)
    plans = "nnUNetPlans"
    workers = ["-np", args.n_workers, "-npfp", args.n_workers]
    if configuration == RESENC[0]:
        configuration, plans = "3d_fullres", RESENC[2]
        command(peer, "nnUNetv2_plan_and_preprocess", "-d", DATASET_ID, "-c", configuration, "-pl", RESENC[1], *workers)
    elif not (peer.caches / f"{plans}_{configuration}").is_dir():
        command(peer, "nnUNetv2_plan_and_preprocess", "-d", DATASET_ID, "-c", configuration, *workers)
    fold = json.loads((args.work / "preprocessed" / NAME / "splits.json").read_text())["folds"][0]
    splits = [{"train": fold["train"], "val": fold["val"]}]
    (peer.caches / "splits_final.json").write_text(json.dumps(splits))
    begin = time.monotonic()
    script = Path(__file__).with_name("race_peer.py")
    steps = peer.python(script, 60.0 * args.minutes, DATASET_ID, configuration, plans, args.device, args.seed)
    took = time.monotonic() - begin
    masks = peer.home / "masks" / label(args)
    shutil.rmtree(masks, ignore_errors=True)
    images = peer.home / "test"
    images.mkdir(exist_ok=True)
    for case in sorted((args.work / "test").glob("case_*")):
        link = images / f"{case.name}_0000.nii.gz"
        if not link.exists():
            link.symlink_to(case / "imaging.nii.gz")
    what = ["-d", DATASET_ID, "-c", configuration, "-p", plans, "-f", "0", "-device", args.device, "--disable_tta"]
    command(peer, "nnUNetv2_predict", "-i", images, "-o", masks, *what)
    return {"masks": masks, "train_s": took, "steps": steps}


def append(args: argparse.Namespace, outcome: dict[str, Any]) -> None:
    """Score the masks and add a row for each test case."""
    report = args.work / "reports" / f"{label(args)}.csv"
    report.parent.mkdir(exist_ok=True)
    masks = outcome.pop("masks")
    bisc(args, "evaluate", "-r", args.work / "test", "-p", masks, "--all-references", "-o", report)
    rows = pd.read_csv(report)
    about = {"contestant": args.contestant, "minutes": args.minutes, "seed": args.seed, "device": args.device}
    for column, value in reversed({**about, **outcome}.items()):
        rows.insert(0, column, value)
    table = args.work / TABLE
    if table.exists():
        old = pd.read_csv(table)
        same = np.logical_and.reduce([old[key] == value for key, value in about.items()])
        rows = pd.concat([old[~same], rows])
    rows.to_csv(table, index=False)


def label(args: argparse.Namespace) -> str:
    """A run's name in folders."""
    return f"{args.contestant.replace(':', '_')}_{args.minutes:g}min_seed{args.seed}"


def bisc(args: argparse.Namespace, name: str, *arguments: object, results: Path | None = None) -> None:
    """One of our commands, as installed beside this interpreter."""
    program = Path(sys.executable).with_name(f"bisc_{name}")
    home = {"BISC_HOME": str(args.work)} | ({"BISC_RESULTS": str(results)} if results else {})
    run([program, *map(str, arguments)], home)


def command(peer: NnUNet, name: str, *arguments: object) -> None:
    """One of nnU-Net's."""
    subprocess.run([peer.programs / name, *map(str, arguments)], env=os.environ | peer.env, check=True)


if __name__ == "__main__":
    main()
