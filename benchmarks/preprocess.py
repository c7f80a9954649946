"""Plan and preprocess: nnU-Net and ours in turn over the same simulated KiTS-size cases.

    python -m benchmarks.preprocess [-o bench_out] [--peers .bench/peers] [--cases 6] [--repeats 3]

nnU-Net makes one configuration (3d_fullres), ours the caches of both stages. Two processes each; nothing is kept from
one run to the next.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pandas as pd

from benchmarks import scans, table
from benchmarks.measure import Cost, bytes_under, cost_of
from benchmarks.peers import NNUNET, NnUNet, install, make_parser

MEASURES = {"wall_s": "wall, s", "cpu_s": "CPU, s", "peak_gb": "peak memory, GB", "disk_mb": "on disk, MB"}
WORKERS = 2
MB = 1e6


def main() -> None:
    """Write preprocess.csv, preprocess.md and preprocess.png."""
    parser = make_parser(__doc__)
    parser.add_argument("--cases", type=int, default=6)
    args = parser.parse_args()
    work = args.out / "work"
    raw = scans.simulated(work / "raw" / "Simulated", args.cases)
    peer = None if args.no_peers else NnUNet(install(args.peers), work / "nnunet_preprocess")
    rows = []
    for _ in range(args.repeats):
        rows.append(row(table.OURS, *ours(raw, work / "preprocessed")))
        if peer is not None:
            peer.take(raw)
            shutil.rmtree(peer.caches, ignore_errors=True)
            rows.append(row(NNUNET, *peer.plan_and_preprocess(WORKERS)))
        print(rows[-2:], flush=True)
    title = f"Plan and preprocess {args.cases} CT of 512 x 512 x 108"
    print(table.write(args.out, "preprocess", pd.DataFrame(rows), MEASURES, title))


def ours(raw: Path, target: Path, n_workers: int = WORKERS) -> tuple[Cost, int]:
    """bisc_plan_and_preprocess into an empty folder."""
    shutil.rmtree(target, ignore_errors=True)
    program = Path(sys.executable).with_name("bisc_plan_and_preprocess")
    command: list[str | Path] = [program, "-d", raw.resolve(), "-np", str(n_workers)]
    cost = cost_of(command, {"BISC_PREPROCESSED": str(target.resolve())})
    return cost, bytes_under(target)


def row(who: str, cost: Cost, n_bytes: int) -> dict[str, str | float]:
    """One run."""
    return {"who": who, **vars(cost), "disk_mb": n_bytes / MB}


if __name__ == "__main__":
    main()
