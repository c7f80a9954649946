"""Processes of this machine that train together, begun again from the last checkpoint when one of them is lost.

torchrun does this across machines (`bisc.trainers.place`). Here what the user did wrong is one line and begins nothing
again, Ctrl-C is heard by this process alone, which asks the others to stop, and the exit status is that of one process.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import torch

from bisc.core.errors import BiscError, InputError, WorkError, one_line
from bisc.system.console import Stopped, ask_to_stop, check, notice, notices_shown_by, prog, stoppable
from bisc.system.workers import LOOK_EVERY_S, Context, own_worker, starting
from bisc.trainers.ranks import LAUNCH_ID, PeerLost

if TYPE_CHECKING:
    from bisc.pipeline.train import TrainedFold

MOST_RESTARTS: Final = 3
GRACE_S: Final = 2.0
"""After the first process ended badly, for the others to say why they end too; then they are killed."""
LINE: Final = "training interrupted"


@dataclass
class _Process:
    """One of the processes, and what became of it.

    Attributes:
        process: It.
        link: What it sends: trained folds, and at its end None or why it ended. It is sent the wish to stop.
        ended: Whether it has, or is lost.
        why: None: all its work is done, or it was lost.
        lost: Whether it ended without a word.
    """

    process: SpawnProcess
    link: Connection
    ended: bool = False
    why: BiscError | Stopped | None = None
    lost: bool = False


def launch(
    train: Callable[..., Any], given: Mapping[str, Any], n: int, done: Callable[[TrainedFold], object]
) -> tuple[TrainedFold, ...]:
    """`train` in `n` processes at once, each with its place among them in its environment.

    Args:
        train: `bisc.pipeline.train.train`.
        given: Its arguments.
        n: How many.
        done: Takes each fold when it is finished.

    Returns:
        The trained folds, in order.

    Raises:
        InputError: If this machine has fewer GPUs, or what a process says.
        WorkError: If processes were lost more than `MOST_RESTARTS` times, or what a process says.
        Stopped: After Ctrl-C; the state is saved.
    """
    _check_device(n, given["device"])
    name, folds = uuid.uuid4().hex, dict[Path, "TrainedFold"]()

    def take(trained: TrainedFold) -> None:
        if trained.folder not in folds:  # else said before the others were begun again
            folds[trained.folder] = trained
            done(trained)

    with stoppable(LINE):
        for restart in range(MOST_RESTARTS + 1):
            lost = _run(train, given, n, name, take)
            if lost is None:
                return tuple(folds.values())
            if restart < MOST_RESTARTS:
                again = f"all begin again from the last checkpoint ({restart + 1} of at most {MOST_RESTARTS} times)"
                notice(f"{given['stage']} fold {given['fold']}", lost, again)
    raise WorkError(
        f"{given['stage']} fold {given['fold']}: {lost}, after {MOST_RESTARTS} beginnings more; "
        "the same command with --continue goes on from the last checkpoint"
    )


def _check_device(n: int, device: str | None) -> None:
    if device == "cpu":
        return
    if device not in (None, "cuda"):
        raise InputError("--device", f"{device!r} with --gpus {n}", "cuda or cpu", "leave the number out")
    there = torch.cuda.device_count()
    if there < n:
        raise InputError("--gpus", f"{n}, this machine has {there}", "a GPU for each process", "or use --device cpu")


def _run(
    train: Callable[..., Any], given: Mapping[str, Any], n: int, name: str, take: Callable[[TrainedFold], None]
) -> str | None:
    """Start the processes and see them to their end; returns how one was lost, if one was.

    Raises:
        BiscError: What one of them says.
        Stopped: If the user asks for it; all of them have ended.
    """
    processes = _started(train, given, n, name)
    try:
        _see_to_the_end(processes, take)
    finally:
        for each in processes:
            each.process.kill()
            each.process.join()
    check()
    errors = [each.why for each in processes if isinstance(each.why, BiscError)]
    own = next((error for error in errors if not isinstance(error, PeerLost)), None)
    if own is not None:
        raise own
    gone = next((i for i, each in enumerate(processes) if each.lost), None)
    if gone is not None:
        return f"process {gone + 1} of {n} {_how(processes[gone].process.exitcode)}"
    if any(isinstance(each.why, Stopped) for each in processes):
        raise Stopped
    return str(errors[0]) if errors else None


def _started(train: Callable[..., Any], given: Mapping[str, Any], n: int, name: str) -> list[_Process]:
    processes, port = [], _free_port()
    for number in range(n):
        place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n}
        variables = {key: str(value) for key, value in place.items()}
        variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), LAUNCH_ID: name}
        ours, theirs = Context().Pipe()
        process = Context().Process(target=_work, args=(theirs, variables, prog(), train, dict(given)))
        with starting():
            process.start()
        theirs.close()  # else its death would not end the pipe
        processes.append(_Process(process, ours))
    return processes


def _see_to_the_end(processes: list[_Process], take: Callable[[TrainedFold], None]) -> None:
    """Until all have ended, or one badly and the others have had their time."""
    asked, deadline = False, None
    while running := [each for each in processes if not each.ended]:
        try:
            check()
        except Stopped:
            if not asked:
                asked = True
                for each in running:
                    _send(each.link)
        ready = wait([each.link for each in running], LOOK_EVERY_S)
        for each in running:
            if each.link in ready:
                _hear(each, take)
        if deadline is None and any(each.lost or isinstance(each.why, BiscError) for each in processes):
            deadline = time.monotonic() + GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            return


def _send(link: Connection) -> None:
    with suppress(OSError):  # it is gone, which the next look shows
        link.send(None)


def _hear(each: _Process, take: Callable[[TrainedFold], None]) -> None:
    try:
        said = each.link.recv()
    except (EOFError, OSError):
        each.ended = each.lost = True
        each.process.join()
        return
    if said is None or isinstance(said, BiscError | Stopped):
        each.ended, each.why = True, said
    else:
        take(said)


def _how(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"was killed (signal {-exitcode}), most often for want of memory"
    return f"ended without a word (exit status {exitcode})"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _work(
    link: Connection, variables: dict[str, str], shown_by: str, train: Callable[..., Any], given: dict[str, Any]
) -> None:
    """A process's life."""
    own_worker()
    os.environ.update(variables)
    Thread(target=_listen, args=(link,), daemon=True).start()
    why: BiscError | Stopped | None = None
    with notices_shown_by(shown_by), stoppable(LINE):
        try:
            train(**given, done=link.send)
        except Stopped as stopped:
            why = stopped
        except BiscError as error:
            why = error
        except Exception as error:  # noqa: BLE001 - the last line of defence, as a command's
            if os.environ.get("BISC_DEBUG"):
                traceback.print_exc()
            text = f"unexpected {type(error).__name__}: {error} (set BISC_DEBUG=1 for the traceback)"
            why = WorkError(one_line(text))
    link.send(why)
    os._exit(0)  # the interpreter's end, and nccl's, can take long and wait for others


def _listen(link: Connection) -> None:
    try:
        link.recv()
    except (EOFError, OSError):
        return
    ask_to_stop()
