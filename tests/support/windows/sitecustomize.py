"""Take from the package what Windows (and in part macOS) has not, in this process and all that it starts.

Python runs this before anything else where its folder stands on PYTHONPATH. What is taken is taken from the package
alone, and from what its code calls on its way to the system: the standard library and other packages have ports of
their own, and theirs for Linux need Linux. So `import os` in a module of bisc gives another `os` than elsewhere, with
the name of Windows and without POSIX's functions; an open of /proc that bisc's code asks for finds nothing.
"""

from __future__ import annotations

import builtins
import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType, ModuleType
from typing import Any, Final

GONE: Final = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog")
OF_OS: Final = (
    *("fork", "forkpty", "killpg", "getpgid", "setpgid", "getpgrp", "setsid", "getsid", "getuid", "geteuid", "getgid"),
    *("chown", "fchown", "lchown", "sched_getaffinity", "sched_setaffinity", "statvfs", "uname"),
    *("mkfifo", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "getloadavg", "sysconf", "nice", "wait"),
    *("WNOHANG", "pread", "pwrite", "sendfile", "posix_fadvise", "posix_fallocate", "openpty", "ttyname"),
)
OF_SIGNAL: Final = (
    *("SIGHUP", "SIGKILL", "SIGQUIT", "SIGALRM", "SIGCHLD", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT", "SIGPIPE"),
    *("pthread_sigmask", "pthread_kill", "sigwait", "sigpending", "setitimer", "alarm", "pause", "siginterrupt"),
    *("SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK"),
)
UNSEEN: Final = ("/proc/", "/sys/")
LIBRARY: Final = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120 - pathlib is not to be imported yet
PACKAGES: Final = f"{os.sep}site-packages{os.sep}"

_import, _import_module = builtins.__import__, importlib.import_module


def _without(module: ModuleType, names: Sequence[str], **instead: object) -> ModuleType:
    other = ModuleType(module.__name__)
    other.__dict__.update({name: value for name, value in vars(module).items() if name not in names}, **instead)
    return other


CHANGED: Final = {
    "os": _without(os, OF_OS, name="nt"),
    "signal": _without(signal, OF_SIGNAL),
}


def _import_less(
    name: str,
    globals: Mapping[str, Any] | None = None,  # as __import__ calls them
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    if level == 0 and str((globals or {}).get("__name__")).split(".")[0] == "bisc":
        if name in CHANGED:
            return CHANGED[name]
        if name in GONE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return _import(name, globals, locals, fromlist or (), level)


def _asked_by_us() -> bool:
    """Whether the nearest code on the way that is no library's is bisc's."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if PACKAGES in file:
            return False
        if not file.startswith((LIBRARY, "<frozen")) and file != __file__:
            return str(frame.f_globals.get("__name__")).split(".")[0] == "bisc"
        frame = frame.f_back
    return False


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(args[0], str) and args[0].startswith(UNSEEN):
        if _asked_by_us():
            raise FileNotFoundError(2, "No such file or directory", args[0])
    elif event == "os.symlink":
        raise OSError(1314, "A required privilege is not held by the client")


def _import_module_less(name: str, package: str | None = None) -> ModuleType:
    if name in GONE and _asked_by_us():
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return _import_module(name, package)


builtins.__import__ = _import_less
importlib.import_module = _import_module_less
sys.addaudithook(_refuse)
