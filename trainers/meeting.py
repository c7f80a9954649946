"""How the processes of a training find each other: by torchrun's environment variables, heeding Ctrl-C meanwhile."""

from __future__ import annotations

import itertools
import os
import time
from contextlib import suppress
from datetime import timedelta
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from bisc.system.console import be_patient, check, hush, tell
from bisc.system.memory import usable_cores
from bisc.trainers.place import Place
from bisc.trainers.ranks import ALONE, PeerLost, Ranks, Together, first_line

PATIENCE: Final = timedelta(days=7)
"""For words between processes: the others wait while the first one validates a fold through the cascade."""
LOOK_EVERY_S: Final = 0.5
PATIENCE_S: Final = 20.0
"""So long nothing is said of processes that have not come yet."""
_meetings: Final = itertools.count()


def join(place: Place, kind: str) -> Ranks:
    """Meet the other processes, and wait until all are there; those but the first say nothing but errors from now on.

    Args:
        place: This process's.
        kind: 'cpu' or 'cuda'.

    Raises:
        WorkError: If they do not come together.
    """
    if place.n == 1:
        return ALONE
    if place.number:
        hush()
    if kind == "cuda":
        torch.cuda.set_device(place.local)
    if "OMP_NUM_THREADS" not in os.environ:  # torchrun sets it
        torch.set_num_threads(max(1, usable_cores() // place.n_local))
    try:
        # Where torchrun starts processes again, what the dead ones said still stands in its store, under the same keys.
        meeting = f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}.{next(_meetings)}"
        store = dist.PrefixStore(meeting, _met(place))  # type: ignore[attr-defined]
        be_patient()
        backend = "nccl" if kind == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=place.number, world_size=place.n)
        words = dist.new_group(backend="gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise PeerLost(f"the {place.n} processes did not come together ({first_line(error)})") from error
    return Together(place.number, place.n, words)


def _met(place: Place) -> Any:
    """The store in which the processes meet, once all are there. Waiting for them in C++ would hear no Ctrl-C."""
    answer: SimpleQueue[Any] = SimpleQueue()

    def meet() -> None:
        try:
            answer.put(next(rendezvous("env://", place.number, place.n))[0])
        except Exception as error:  # noqa: BLE001 - raised below
            answer.put(error)

    Thread(target=meet, daemon=True).start()
    began, told = time.monotonic(), False
    while True:
        check()
        with suppress(Empty):
            met = answer.get(timeout=LOOK_EVERY_S)
            if isinstance(met, Exception):
                raise met
            return met
        if not told and time.monotonic() > began + PATIENCE_S:
            told = True
            tell(f"waits for {place.n} processes at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}")
