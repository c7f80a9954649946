"""Prediction of one KiTS-size scan from .nii.gz to .nii.gz, process start included: nnU-Net and ours in turn.

    python -m benchmarks.predict [-o bench_out] [--peers .bench/peers] [--repeats 3] [--peer-repeats 1]

Ours twice: as preset `paper` has it, and `best`, whose stages pack four voxels into channels.
Single fold, full width (32 base features), default settings of both, but nnU-Net without its mirroring (with it: eight
times as long). Our network's weights are set by hand, nnU-Net's are random: neither's speed depends on them, and our
cascade finds both kidneys of the simulated patient, as a trained one would. nnU-Net computes in float32 on a CPU, ours
by default in bf16 where the CPU has it; what nnU-Net would gain from bf16 stands in docs/lab/performance.md.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import scans, table
from benchmarks.by_intensity import write_results
from benchmarks.measure import Cost, cost_of
from benchmarks.peers import NNUNET, NnUNet, add_peer_repeats, install, make_parser

MEASURES = {"wall_s": "wall, s", "cpu_s": "CPU, s", "peak_gb": "peak memory, GB"}
PLAN_CASES = 6
PACKED = f"{table.OURS}, packed"


def main() -> None:
    """Write predict.csv, predict.md and predict.png."""
    parser = make_parser(__doc__)
    add_peer_repeats(parser)
    args = parser.parse_args()
    n_peer = args.repeats if args.peer_repeats is None else args.peer_repeats
    work = args.out / "work"
    scan = scans.painted(work / "in" / "case_00000.nii.gz")
    write_results(work / "model")
    write_results(work / "packed", packing=2)
    peer = None if args.no_peers else ready_peer(args.peers, work)
    rows: list[dict[str, Any]] = []
    for i in range(args.repeats):
        rows.append({"who": table.OURS, **vars(ours(scan, work, "model"))})
        rows.append({"who": PACKED, **vars(ours(scan, work, "packed"))})
        if peer is not None and i < n_peer:
            shutil.rmtree(work / "peer_out", ignore_errors=True)
            rows.append({"who": NNUNET, **vars(peer.predict(peer.home / "in", work / "peer_out"))})
        print(rows[-3:], flush=True)
    print(table.write(args.out, "predict", pd.DataFrame(rows), MEASURES, "One CT, 512 x 512 x 108, on a CPU"))


def ours(scan: Path, work: Path, model: str) -> Cost:
    """bisc_predict, as installed beside this interpreter."""
    shutil.rmtree(work / "our_out", ignore_errors=True)
    command = Path(sys.executable).with_name("bisc_predict")
    return cost_of([command, "-i", scan, "-o", work / "our_out", "-d", work / model])


def ready_peer(programs: Path, work: Path) -> NnUNet:
    """nnU-Net with a plan made from cases of the scan's spacing and a model at its start."""
    peer = NnUNet(install(programs), work / "nnunet")
    if not list(Path(peer.env["nnUNet_results"]).rglob("checkpoint_final.pth")):
        peer.take(scans.painted_data_set(work / "raw" / "Painted", PLAN_CASES))
        peer.plan_and_preprocess(2)
        peer.make_model()
    target = peer.home / "in" / "case_00000_0000.nii.gz"
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.symlink_to((work / "in" / "case_00000.nii.gz").resolve())
    return peer


if __name__ == "__main__":
    main()
