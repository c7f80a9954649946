"""The workers of a Dask scheduler, or of a cluster of this machine: connected, greeted, let go; Dask's only import.

What travels is a job of paths, made absolute, and a row that comes back; voxels and weights are read from storage that
all share, which is tried before the first case.
"""

from __future__ import annotations

import logging
import re
import secrets
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from bisc._version import __version__
from bisc.core.errors import InputError, one_line, shortened
from bisc.system.dask_cases import DaskWorkers
from bisc.system.dask_worker import LOCAL, OURS
from bisc.system.files import scratch_folder, sweep, write_text
from bisc.system.workers import starting

OPTION: Final = "--scheduler"
ADDRESS: Final = re.compile(r"(tcp|tls)://[^/\s]+:[0-9]+")
CONNECT_S: Final = 10.0
CLOSE_S: Final = 2.0
"""So long a local cluster's workers may take to end; then they are killed."""


@contextmanager
def dask_workers(
    scheduler: str,
    n_workers: int,
    shared: Path,
    inputs: Sequence[Path] = (),
    prepare: Callable[[], object] | None = None,
) -> Iterator[DaskWorkers]:
    """The workers of a scheduler, for `bisc.system.cases.run_cases`.

    Args:
        scheduler: tcp://host:8786, tls://..., or 'local': a cluster of this machine for as long as the block runs.
        n_workers: Worker processes of a local one.
        shared: A folder that is there, and that every worker writes to.
        inputs: What every worker must see.
        prepare: Called once in each worker process before its first case; picklable.

    Raises:
        InputError: If no scheduler answers, or a worker is of another version, or does not share the storage.
    """
    if scheduler != LOCAL and not ADDRESS.fullmatch(scheduler):
        raise InputError(OPTION, f"{scheduler!r} is no address", "tcp://HOST:PORT, tls://HOST:PORT or local")
    with (
        _swept(),
        _addressed(scheduler, n_workers) as (address, security),
        _connected(address, security) as client,
        scratch_folder(shared) as probe,
    ):
        token = secrets.token_hex(8)
        write_text(probe / OURS, token)
        hello = (token, __version__, probe.absolute(), tuple(path.absolute() for path in inputs), prepare)
        workers = DaskWorkers(client, address if scheduler == LOCAL else scheduler, hello)
        try:
            workers.greet_all()
            yield workers
        finally:
            workers.cancel()


@contextmanager
def _swept() -> Iterator[None]:
    """What workers of this machine had half-written as they were killed is gone after the block."""
    try:
        yield
    finally:
        sweep()


@contextmanager
def _addressed(scheduler: str, n_workers: int) -> Iterator[tuple[str, Any]]:
    """Where the scheduler is, and how it is spoken to; a local one is gone after the block, and its workers with it."""
    if scheduler != LOCAL:
        yield scheduler, None
        return
    from distributed import LocalCluster, Security

    with starting(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,  # it would kill a worker, or write what it holds to the disk
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            host="127.0.0.1",
            protocol="tls://",
            security=Security.temporary(),  # whoever reaches a scheduler runs what he likes in its workers
        )
    try:
        yield cluster.scheduler_address, cluster.security
    finally:
        with suppress(Exception):
            cluster.close(timeout=CLOSE_S)  # kills what does not end by itself


@contextmanager
def _connected(address: str, security: Any) -> Iterator[Any]:
    from distributed import Client

    # What there is to say is said here. Of a result that is lost as it is fetched asyncio tells too, with a traceback.
    for handler in logging.getLogger("distributed").handlers:  # its own, for all its loggers
        handler.setLevel(logging.CRITICAL + 1)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions of its own parts
            client = Client(address, timeout=CONNECT_S, set_as_default=False, security=security)
    except Exception as error:  # of tls without certificates it is a TypeError
        found = f"no scheduler answers at {address} ({shortened(one_line(str(error) or type(error).__name__), 200)})"
        raise InputError(OPTION, found, "the address that 'dask scheduler' told", "start it, or correct it") from error
    try:
        yield client
    finally:
        with suppress(Exception):  # of a scheduler that is gone
            client.close(timeout=2.0)
