"""In place of bisc_train, as a script: in a blink it leaves what a run leaves, or fails as it is told to.

FAKE is JSON: by run ("fine 1") what becomes of its starts, one after the other; each other start is well.
    crash: exit status 1. kill: SIGKILL. refuse: exit status 2. wait: until standard input ends, then 130.
    meet: well, once another run has begun, for which it waits a minute.
Each start adds a line to BISC_RESULTS/calls.txt at its begin, and one at its end.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

STEPS = 4
COLUMNS = (
    "case,status,dice_kidney,dice_tumor,dice_composite,dice_kidney_only,hd95_kidney_mm,hd95_tumor_mm,"
    "surface_dice_kidney,surface_dice_tumor,volume_kidney_ref_ml,volume_kidney_pred_ml,volume_tumor_ref_ml,"
    "volume_tumor_pred_ml,tumors_ref,tumors_found,tumors_false"
)
N_OTHERS = COLUMNS.count(",") - 3


def main(argv: list[str]) -> int:
    stage, fold, name = argv[0], argv[1], argv[argv.index("-d") + 1]
    run, device = f"{stage} {fold}", argv[argv.index("--device") + 1]
    results = Path(os.environ["BISC_RESULTS"])
    folder = results / name / stage / f"fold_{fold}"
    go_on = (folder / "checkpoint_last.pt").exists()

    def tell(what: str) -> None:
        with (results / "calls.txt").open("a") as calls:
            calls.write(f"{what} {run} {device} {'goes on' if go_on else 'anew'}\n")

    tell("begin")
    begins = [line for line in (results / "calls.txt").read_text().splitlines() if line.startswith(f"begin {run} ")]
    fate = dict(enumerate(json.loads(os.environ.get("FAKE", "{}")).get(run, []))).get(len(begins) - 1, "well")
    if fate == "refuse":
        sys.stderr.write("bisc_train: error: region_0.npy: cut short; expected a whole cache\n")
        return 2
    (folder / "run.json").write_text(json.dumps({"epochs": 1, "iterations": STEPS}))
    (folder / "checkpoint_last.pt").write_text("weights")
    if fate == "kill":
        os.kill(os.getpid(), 9)
    if fate == "crash":
        sys.stderr.write("bisc_train: error: out of memory\n")
        return 1
    if fate == "wait":
        while os.read(0, 1):
            pass
        tell("stopped")
        return 130
    for _ in range(600):
        if fate != "meet" or (results / "calls.txt").read_text().count("begin ") > 1:
            break
        time.sleep(0.1)
    time.sleep(0.05)
    score = 0.8 if stage == "fine" else 0.5
    (folder / "log.csv").write_text(f"epoch,step,score,step_s,wait_s,validation_s\n1,{STEPS},{score},2,0.5,3\n")
    if stage == "fine" and "--no-validation" not in argv:
        (folder / "validation").mkdir(exist_ok=True)
        rows = [COLUMNS, "a,ok,0.9,0.4" + ",1" * N_OTHERS, "b,ok,0.8,0.6" + ",1" * N_OTHERS]
        (folder / "validation" / "report.csv").write_text("\n".join(rows))
    tell("end")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
