"""Which process of a training this is, by the environment variables that torchrun sets, and which GPU is its own."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

import torch

from bisc.core.errors import InputError


@dataclass(frozen=True)
class Place:
    """This process among those that train together, as torchrun's environment variables have it.

    Attributes:
        number: From 0 on (RANK), of `n` (WORLD_SIZE).
        local: From 0 on on this machine (LOCAL_RANK), of `n_local` (LOCAL_WORLD_SIZE).
    """

    number: int = 0
    n: int = 1
    local: int = 0
    n_local: int = 1

    @classmethod
    def from_environment(cls) -> Place:
        """Alone where nothing is said.

        Raises:
            InputError: If a variable is missing or makes no sense.
        """
        n = _number("WORLD_SIZE", 1, None, 1)
        if n == 1:
            return cls()
        n_local = _number("LOCAL_WORLD_SIZE", 1, n, 1)
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            if not os.environ.get(name):
                raise InputError(name, "is not set, but WORLD_SIZE is", "what torchrun sets", "start with torchrun")
        return cls(_number("RANK", 0, n - 1), n, _number("LOCAL_RANK", 0, n_local - 1, 0), n_local)

    def device(self, asked: str | None) -> str | None:
        """The device of this process by the user's word, None being CUDA where there is one: each has its own GPU.

        Raises:
            InputError: If this machine has fewer GPUs than processes, or one of them is asked for.
        """
        if self.n == 1:
            return asked
        if asked not in (None, "cpu", "cuda"):
            raise InputError("--device", f"{asked!r} for {self.n} processes", "cpu or cuda", "leave the number out")
        n_gpus = torch.cuda.device_count()
        if asked == "cpu" or (asked is None and n_gpus == 0):
            return "cpu"
        if n_gpus < self.n_local:
            found = f"{self.n_local} processes, {n_gpus} GPUs on {socket.gethostname()}"
            raise InputError("torchrun", found, "a GPU for each", "start fewer, or use --device cpu")
        return f"cuda:{self.local}"


def _number(name: str, least: int, most: int | None, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
        upto = "" if most is None else f" to {most}"
        raise InputError(name, repr(text), f"a whole number, {least}{upto}", "start with torchrun")
    return int(text)
