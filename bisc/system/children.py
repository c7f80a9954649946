"""Commands that a command starts: processes of their own, their output in a file, and gone with whoever started them.

What ends a child is the end of its standard input, on every system: a pipe that its parent closes to stop it, and that
the system closes when the parent is no more. Ctrl-C in a terminal reaches the parent alone.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from bisc.core.errors import one_line

TAIL_BYTES: Final = 4096


class Child:
    """A command that heeds the end of its standard input (`bisc.system.console.stop_at_end_of_input`).

    Args:
        argv: Program and arguments.
        log: The file that its output goes to, behind what stands there, under a line with the command.
        environment: Variables besides this process's own.
    """

    def __init__(self, argv: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        with log.open("ab") as file:
            file.write(f"$ {shlex.join(argv)}\n".encode("utf-8", "replace"))
            file.flush()
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,  # Windows knows another way, and only that:
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )

    def status(self) -> int | None:
        """Its exit status, negative where a signal ended it; None while it runs."""
        status = self._process.poll()
        if status is not None:
            self.stop()  # for the pipe alone
        return status

    def stop(self) -> None:
        """Ask it to end at its next step; it may take as long as that does."""
        if self._process.stdin is not None:
            with suppress(OSError):  # gone already
                self._process.stdin.close()

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        return self._process.wait()

    def kill(self) -> None:
        """End it now."""
        self._process.kill()

    def last_line(self) -> str:
        """What it said last; empty where it said nothing."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
        said = next((line for line in reversed(lines) if line.strip()), "")
        return "" if said.startswith("$ ") else one_line(said)


def ended(status: int) -> str:
    """An exit status in words."""
    return f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
