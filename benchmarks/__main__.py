"""All comparisons, one after the other, each in a process of its own (`make bench`).

    python -m benchmarks [-o bench_out] [--peers .bench/peers] [--no-peers] [--repeats 3] [--peer-repeats N]

CSV, Markdown and pictures lie in the output folder. Two hours on two cores, most of them nnU-Net's predictions (twenty
minutes each, as many as ours unless --peer-repeats says otherwise); nothing else should run meanwhile.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks import scans
from benchmarks.peers import add_peer_repeats, make_parser
from benchmarks.preprocess import ours


def main() -> None:
    """Run them; ends at the first that fails."""
    parser = make_parser(__doc__)
    add_peer_repeats(parser)
    args = parser.parse_args()
    common = ["-o", str(args.out), "--repeats", str(args.repeats)]
    peers = ["--no-peers"] if args.no_peers else ["--peers", str(args.peers)]
    run("evaluate", *common)
    run("preprocess", *common, *peers)
    caches = args.out / "work" / "training"
    ours(scans.simulated(args.out / "work" / "raw" / "Simulated", 2), caches)
    run("training", str(next(caches.iterdir())), *common, *peers)
    times = [] if args.peer_repeats is None else ["--peer-repeats", str(args.peer_repeats)]
    run("predict", *common, *peers, *times)


def run(name: str, *options: str) -> None:
    """One benchmark as a user would start it."""
    print(f"\n== python -m benchmarks.{name} {' '.join(options)}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=True)


if __name__ == "__main__":
    main()
