"""Our two stages within a budget of wall seconds, in one process.

    python race_own.py SECONDS NAME PRESET DEVICE SEED

The budget begins with the process: imports, probes, compiling and checkpoints are in it. The last line printed is the
number of steps of each stage.
"""

from __future__ import annotations

import sys
import time
from typing import Final

BEGAN = time.monotonic()
START_S: Final = 0.3
"""Of the interpreter, before its first line of ours."""
ROUGH_SHARE: Final = 0.2
"""Of the budget; the fine stage has the rest."""


def main() -> None:
    """Train the rough stage, then the fine one for as long as is left."""
    seconds, name, preset, device, seed = sys.argv[1:]
    import bisc

    steps = []
    for stage in ("rough", "fine"):
        gone = time.monotonic() - BEGAN + START_S
        left = float(seconds) * (ROUGH_SHARE if stage == "rough" else 1.0) - gone
        (fold,) = bisc.train(
            stage, 0, name, preset=preset, minutes=left / 60.0, seed=int(seed), device=device, validate=False
        )
        s = fold.settings
        steps.append(f"{s.total_steps}")
        print(stage, s.patch_size_zyx, s.batch_size, s.base_features, s.precision, f"{time.monotonic() - BEGAN:.1f} s")
    print("+".join(steps))


if __name__ == "__main__":
    main()
