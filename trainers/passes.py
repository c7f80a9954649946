"""In how many passes a training step's batch goes through the network, where memory does not hold it at once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import torch

from bisc.core.errors import InputError
from bisc.losses import adds_up, of_each_part
from bisc.network.checkpoint import load_checkpoint
from bisc.network.device import Device
from bisc.planners.memory import norm_for, training_gb
from bisc.system.console import notice
from bisc.system.memory import GIB, free_gb
from bisc.trainers.ranks import ALONE, Ranks
from bisc.trainers.settings import RunSettings

HALF_PRECISION: Final = 0.6
"""Part of a float32 step's memory that one in bf16 or fp16 takes: activations halve, weights and losses do not. Not
measured."""


def in_passes(settings: RunSettings, passes: int) -> RunSettings:
    """The settings of a run whose steps add up the gradients of `passes` equal parts of the batch.

    Batch norm's statistics are those of a part, so a part that is too small for them gets instance norm, as a batch of
    its size does in a plan.

    Raises:
        InputError: If the batch cannot be cut so.
    """
    size = settings.batch_size
    if passes < 1 or size % passes:
        raise InputError("--passes", str(passes), f"a divisor of the batch of {size}")
    changes = {"norm": "instance"} if passes > 1 and norm_for(size // passes) == "instance" else {}
    return msgspec.structs.replace(settings, passes=passes, **changes)


def passes_that_fit(settings: RunSettings, gb: float, ranks: Ranks = ALONE) -> int:
    """The fewest passes whose part of the batch trains within `gb` GiB, or the most there may be.

    The norm stays the plan's: it is no matter of what other programs happen to hold. Each of several processes has a
    patch at least.
    """
    size = settings.batch_size
    counts = [n for n in range(1, size + 1) if size % n == 0 and in_passes(settings, n).norm == settings.norm]
    shared = [n for n in counts if size // n >= ranks.n] or [1]
    return next((n for n in shared if pass_gb(settings, n, ranks) <= gb), shared[-1])


def pass_gb(settings: RunSettings, passes: int, ranks: Ranks = ALONE) -> float:
    """Estimated peak memory in GiB of a step in `passes`, of each process."""
    s = settings
    share = ranks.largest_share(s.batch_size // passes)
    whole = training_gb(s.patch_size_zyx, share, s.base_features, s.packing)
    return whole if s.precision == "fp32" else HALF_PRECISION * whole


def choose_passes(
    settings: RunSettings, asked: int | None, last: Path | None, free: float | None, ranks: Ranks = ALONE
) -> RunSettings:
    """The settings in as many passes as are asked for, or as the run was begun with, or as memory demands.

    Args:
        settings: Of one pass.
        asked: The user's number.
        last: Checkpoint of the run that is gone on with, where there is one.
        free: Memory in GiB to train in, the least that a process has; None: whatever it takes.
        ranks: The processes that train together.

    Raises:
        InputError: If the batch cannot be cut so, or `last` is no checkpoint.
    """
    if asked is not None:
        cut = in_passes(settings, asked)
        if cut.norm != settings.norm:
            found = f"parts of {settings.batch_size // asked} patches are too few for {settings.norm} norm"
            notice(f"--passes {asked}", found, f"another network is trained: of {cut.norm} norm")
        return cut
    if last is not None and last.exists():  # whatever is free today: its weights are of that many
        begun = load_checkpoint(last).settings.get("passes", 1)
        fits = isinstance(begun, int) and begun > 0 and settings.batch_size % begun == 0
        return in_passes(settings, begun) if fits else settings
    if free is None:
        return settings
    passes = passes_that_fit(settings, free, ranks)
    if pass_gb(settings, 1, ranks) > free:
        _tell(settings, passes, free, ranks)
    return in_passes(settings, passes)


def check_shares(settings: RunSettings, kind: str, ranks: Ranks) -> None:
    """Know before anything is trained that it gives what one process would.

    Raises:
        InputError: If there are more processes than cases in a pass, if the loss cannot be added up, or if batch norm
            would see a share alone.
    """
    if ranks.n == 1:
        return
    of_pass = settings.batch_size // settings.passes
    among = f"{ranks.n} processes"
    if of_pass < ranks.n:
        batch = f"a batch of {settings.batch_size}" + (f" in {settings.passes} passes" if settings.passes > 1 else "")
        raise InputError(among, f"for {batch}", f"at most {of_pass}, a patch for each", "start fewer")
    if not adds_up(settings.loss):
        mend = "docs/how-to/many_gpus.md has what it needs; or train in one process"
        raise InputError(f"--loss {settings.loss}", f"has no parameter 'total', for {among}", "a loss with it", mend)
    if kind == "cpu" and settings.norm == "batch":
        mend = f"train in one process, or plan with --set {settings.stage}.norm=instance"
        raise InputError(f"{among} on a CPU", "batch norm, whose statistics only GPUs share", "instance norm", mend)


def _tell(settings: RunSettings, passes: int, free: float, ranks: Ranks) -> None:
    size, each = settings.batch_size, pass_gb(settings, passes, ranks)
    where = f" in each of {ranks.n} processes" if ranks.n > 1 else ""
    doubt = f" of {each:.1f} GB each: plan with a smaller --memory-gb, or name more --passes" if each > free else ""
    apart = ", the loss of each by itself" if of_each_part(settings.loss) else ""
    notice(
        f"{settings.stage} fold {settings.fold}",
        f"a step on a batch of {size} takes {pass_gb(settings, 1, ranks):.1f} GB{where}, {free:.1f} GB are free",
        f"trained in {passes} passes of {size // passes}{apart} (--passes 1: at once){doubt}",
    )


def free_on(device: Device) -> float:
    """Free memory in GiB where the network trains; before anything is trained, which keeps what it took."""
    return float(torch.cuda.mem_get_info(device.device)[0]) / GIB if device.kind == "cuda" else free_gb()
