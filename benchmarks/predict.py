"""Prediction of one KiTS-size scan from .nii.gz to .nii.gz, process start included: nnU-Net and ours in turn.

    python -m benchmarks.predict [-o bench_out] [--peers .bench/peers] [--repeats 3] [--peer-repeats 1]

Single fold, full width (32 base features), default settings of both, but nnU-Net without its mirroring (with it: eight
times as long). Our network's weights are set by hand, nnU-Net's are random: neither's speed depends on them, and our
cascade finds both kidneys of the simulated patient, as a trained one would.

nnU-Net computes in float32 on a CPU. Where the CPU has bf16 arithmetic a second figure is computed: its measured run,
less what its tiles would gain from it (`peer_tile.py`).
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import limit, scans, table
from benchmarks.by_intensity import write_results
from benchmarks.measure import Cost, cost_of
from benchmarks.peers import NNUNET, NnUNet, add_peer_repeats, install, make_parser
from bisc.network.device import choose_device

IN_BF16 = "nnU-Net, tiles in bf16 by hand (computed)"
PEER_TILE = Path(__file__).with_name("peer_tile.py")
TILE_REPEATS = 3
MEASURES = {"wall_s": "wall, s", "cpu_s": "CPU, s", "peak_gb": "peak memory, GB"}
PLAN_CASES = 6


def main() -> None:
    """Write predict.csv, predict.md, predict.png and limit.csv."""
    parser = make_parser(__doc__)
    add_peer_repeats(parser)
    args = parser.parse_args()
    n_peer = args.repeats if args.peer_repeats is None else args.peer_repeats
    work = args.out / "work"
    scan = scans.painted(work / "in" / "case_00000.nii.gz")
    write_results(work / "model")
    peer = None if args.no_peers else ready_peer(args.peers, work)
    rows: list[dict[str, Any]] = []
    for i in range(args.repeats):
        rows.append({"who": table.OURS, **vars(ours(scan, work))})
        if peer is not None and i < n_peer:
            shutil.rmtree(work / "peer_out", ignore_errors=True)
            rows.append({"who": NNUNET, **vars(peer.predict(peer.home / "in", work / "peer_out"))})
        print(rows[-2:], flush=True)
    if peer is not None and choose_device("cpu").precision == "bf16":
        rows.append({"who": IN_BF16, "wall_s": wall_in_bf16(peer, scan, rows)})
    rates = limit.measure()
    pd.DataFrame([{**vars(r), "gflop_per_s": r.gflop_per_s} for r in rates]).to_csv(args.out / "limit.csv", index=False)
    print(table.write(args.out, "predict", pd.DataFrame(rows), MEASURES, "One CT, 512 x 512 x 108, on a CPU"))
    for what, share in limit.share_of_limit(rates).items():
        print(f"{what}: {share:.0%} of the best convolution of this run")


def ours(scan: Path, work: Path) -> Cost:
    """bisc_predict, as installed beside this interpreter."""
    shutil.rmtree(work / "our_out", ignore_errors=True)
    command = Path(sys.executable).with_name("bisc_predict")
    return cost_of([command, "-i", scan, "-o", work / "our_out", "-d", work / "model"])


def wall_in_bf16(peer: NnUNet, scan: Path, rows: list[dict[str, Any]]) -> float:
    """Seconds of nnU-Net's median run, had its tiles been computed in bf16."""
    tile = json.loads(peer.python(PEER_TILE, scan.resolve(), TILE_REPEATS))
    measured = statistics.median(row["wall_s"] for row in rows if row["who"] == NNUNET)
    print(f"nnU-Net, {tile['tiles']} tiles: {tile['fp32_s']:.2f} s each in float32, {tile['bf16_s']:.2f} s in bf16")
    return float(measured - tile["tiles"] * (tile["fp32_s"] - tile["bf16_s"]))


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
