"""The race: our presets and nnU-Net's configurations, each trained for the same wall minutes on the same cases.

    python -m benchmarks.race WORK --minutes 20 --seed 1 --contestant best
    python -m benchmarks.race WORK --minutes 20 --seed 1 --contestant nnunet:3d_fullres
    python -m benchmarks.race WORK                                     # the table of all that was run

    python -m benchmarks.race WORK --maps DIR --test DIR --minutes 1.5 --device cuda --contestant best

Without label maps the cases are procedural and small, for a CPU: 200 to train and validate on, 24 of other patients to
test on, 128 x 128 x 32. Both sides train on fold 0's training cases. A budget holds all of a training from the start
of its process to its last checkpoint, both of our stages together; caches are made before. nnU-Net's poly
decay ends with the budget; its prediction does without mirroring, as ours. Both are scored by argmax; a missed kidney
is 0. Every run leaves its test cases in WORK/rows: a race can be run piece by piece, and whatever was run stays in
the table. Where machine time is dear, `--only` does one part: `prepare` (no GPU), `train`, `score` (several at once).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from benchmarks.measure import run
from benchmarks.peers import DATASET_ID, NnUNet, install, link
from benchmarks.race_table import draw, table_of
from bisc.pipeline.nnunet import nnunet_splits
from bisc.planners.dataset import load_splits

ROWS: Final = "rows"
OUTCOME: Final = "outcome.json"
NAME: Final = "Race"
SIZE: Final = ("128", "128", "32")
N_TRAIN, N_TEST = 200, 24
SEEDS: Final = {"train": "11", "test": "77"}
PARTS: Final = ("prepare", "train", "score")
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
    parser.add_argument("--only", choices=PARTS, help="of prepare, train and score; default: all three, in turn")
    args = parser.parse_args()
    args.work = args.work.resolve()
    if args.contestant:
        contestant = (Theirs if args.contestant.startswith("nnunet:") else Ours)(args)
        for part in PARTS:
            if args.only in (None, part):
                getattr(contestant, part)()
    if args.only in (None, "score"):
        rows = pd.concat([pd.read_csv(path) for path in sorted((args.work / ROWS).glob("*.csv"))])
        text = table_of(rows)
        (args.work / "race.md").write_text(text)
        draw(rows, args.work / "race.png")
        print(text)


@dataclass
class Contestant(ABC):
    """One side's way through a race's parts."""

    args: argparse.Namespace

    @property
    def label(self) -> str:
        """Of the run, in folders."""
        a = self.args
        return f"{a.contestant.replace(':', '_')}_{a.minutes:g}min_seed{a.seed}"

    @property
    def home(self) -> Path:
        """What the run leaves."""
        found: Path = self.args.work / "runs" / self.label
        return found

    def prepare(self) -> None:
        """Simulate, plan and cache, unless an earlier run has."""
        a = self.args
        for part, maps, first, n in (("raw/Race", a.maps, 0, N_TRAIN), ("test", a.test, 1000, N_TEST)):
            kind = "test" if part == "test" else "train"
            painted = ["-l", maps] if maps else ["-n", n, "--start-index", first, "--size", *SIZE]
            self.bisc("simulate", "-o", a.work / part, *painted, "--seed", SEEDS[kind], "-np", a.n_workers)
        self.bisc("plan_and_preprocess", "-d", NAME, "-np", a.n_workers)

    def train(self) -> None:
        """Train for the budget, and note what was done."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        begin = time.monotonic()
        steps = self.trained()
        outcome = {"train_s": time.monotonic() - begin, "steps": steps}
        (self.home / OUTCOME).write_text(json.dumps(outcome))

    def score(self) -> None:
        """Predict the test cases, and write a row for each."""
        a, report = self.args, self.home / "report.csv"
        self.predicted(self.home / "masks")
        self.bisc("evaluate", "-r", a.work / "test", "-p", self.home / "masks", "--all-references", "-o", report)
        rows = pd.read_csv(report)
        about = {"contestant": a.contestant, "minutes": a.minutes, "seed": a.seed, "device": a.device}
        outcome = json.loads((self.home / OUTCOME).read_text())
        for column, value in reversed({**about, **outcome}.items()):
            rows.insert(0, column, value)
        (a.work / ROWS).mkdir(exist_ok=True)
        rows.to_csv(a.work / ROWS / f"{self.label}.csv", index=False)

    @abstractmethod
    def trained(self) -> str:
        """Train; the steps done."""

    @abstractmethod
    def predicted(self, masks: Path) -> None:
        """Leave masks of the test cases."""

    def bisc(self, name: str, *arguments: object) -> None:
        """One of our commands, as installed beside this interpreter."""
        run([Path(sys.executable).with_name(f"bisc_{name}"), *map(str, arguments)], self.env)

    @property
    def env(self) -> dict[str, str]:
        """Where our commands find their data."""
        return {"BISC_HOME": str(self.args.work), "BISC_RESULTS": str(self.home)}


class Ours(Contestant):
    """Both stages of a preset, in one process."""

    def trained(self) -> str:
        """Both stages."""
        a = self.args
        script = Path(__file__).with_name("race_own.py")
        return run([sys.executable, script, 60.0 * a.minutes, NAME, a.contestant, a.device, a.seed], self.env)[1]

    def predicted(self, masks: Path) -> None:
        """By argmax, as theirs."""
        a = self.args
        what = ["-i", a.work / "test", "-o", masks, "-d", NAME, "--device", a.device]
        self.bisc("predict", *what, "--decision", "argmax")


class Theirs(Contestant):
    """nnU-Net's own commands and trainer."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.configuration, self.plans = args.contestant.removeprefix("nnunet:"), "nnUNetPlans"
        if self.configuration == RESENC[0]:
            self.configuration, self.plans = "3d_fullres", RESENC[2]
        self.peer = NnUNet(install(args.peers), args.work / "nnunet")
        self.peer.env |= {"nnUNet_n_proc_DA": str(max(2, args.n_workers - 3)), "nnUNet_compile": "f"}

    def prepare(self) -> None:
        """The same cases, planned and cached by nnU-Net, in our folds."""
        super().prepare()
        work, caches = self.args.work, self.peer.caches
        self.peer.take(work / "raw" / NAME)
        workers = ["-np", self.args.n_workers, "-npfp", self.args.n_workers]
        done = self.args.work / f"nnunet_{self.configuration}.done"
        if not done.exists():
            self.command("plan_and_preprocess", "-d", DATASET_ID, "-c", self.configuration, *workers)
            done.touch()
        if self.plans == RESENC[2]:  # of the same fingerprint and caches
            self.command("plan_experiment", "-d", DATASET_ID, "-pl", RESENC[1])
        folds = nnunet_splits(load_splits(work / "preprocessed" / NAME))
        (caches / "splits_final.json").write_text(json.dumps(folds))

    def trained(self) -> str:
        """By its own trainer."""
        a, script = self.args, Path(__file__).with_name("race_peer.py")
        self.peer.env["nnUNet_results"] = str(self.home)
        return self.peer.python(script, 60.0 * a.minutes, DATASET_ID, self.configuration, self.plans, a.device, a.seed)

    def predicted(self, masks: Path) -> None:
        """One fold, without mirroring."""
        self.peer.env["nnUNet_results"] = str(self.home)
        images = self.home / "test"
        images.mkdir(exist_ok=True)
        for case in sorted((self.args.work / "test").glob("case_*")):
            link(images / f"{case.name}_0000.nii.gz", case / "imaging.nii.gz")
        what = ["-d", DATASET_ID, "-c", self.configuration, "-p", self.plans, "-f", "0", "-device", self.args.device]
        self.command("predict", "-i", images, "-o", masks, *what, "--disable_tta")

    def command(self, name: str, *arguments: object) -> None:
        """One of nnU-Net's."""
        run([self.peer.programs / f"nnUNetv2_{name}", *map(str, arguments)], self.peer.env)


if __name__ == "__main__":
    main()
