"""nnU-Net's own trainer within a budget of wall seconds; runs in the peers' environment.

    python race_peer.py SECONDS DATASET_ID CONFIGURATION PLANS DEVICE SEED

Everything is nnU-Net's but its clock: the poly decay of the rate is laid over the budget, so that it ends with it, and
validation between epochs, which chooses nothing here, is one batch. The budget begins with the process: imports,
network and loaders are in it. The last line printed is the number of steps.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

BEGAN = time.monotonic()
EXPONENT = 0.9
SAVE_S = 2.0
"""Kept for writing the checkpoint."""


def main() -> None:
    """Train, and leave checkpoint_final.pth where nnUNetv2_predict looks for it."""
    seconds, dataset, configuration, plans, device, seed = sys.argv[1:]
    import numpy as np
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    for seeder in (random.seed, np.random.seed, torch.manual_seed):
        seeder(int(seed))
    trainer = get_trainer_from_args(
        dataset, configuration, 0, trainer_name="nnUNetTrainer", plans_identifier=plans, device=torch.device(device)
    )
    trainer.num_val_iterations_per_epoch = 1
    trainer.num_epochs = 10**6
    trainer.initialize()
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
    trainer.on_train_start()
    end = BEGAN + float(seconds) - SAVE_S
    steps, started = 0, time.monotonic()
    trainer.network.train()
    while time.monotonic() < end:
        left = max(0.0, (end - time.monotonic()) / max(end - started, 1e-9))
        for group in trainer.optimizer.param_groups:
            group["lr"] = trainer.initial_lr * left**EXPONENT
        trainer.train_step(next(trainer.dataloader_train))
        steps += 1
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    print(steps, flush=True)
    for loader in (trainer.dataloader_train, trainer.dataloader_val):
        if hasattr(loader, "_finish"):
            loader._finish()
    os._exit(0)  # its loader processes would keep the interpreter


if __name__ == "__main__":
    main()
