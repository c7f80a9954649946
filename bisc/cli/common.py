"""What every command shares: the parser's habits, exit statuses, one-line errors."""

from __future__ import annotations

import argparse
import errno
import math
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from bisc._version import __version__
from bisc.core.errors import BiscError, InputError, one_line
from bisc.system.console import INTERRUPTED, check, notices_shown_by, say, stoppable
from bisc.system.memory import usable_cores

OK, FAILED, BAD_INPUT = 0, 1, 2

TOO_MANY_FILES = "too many open files for this process's limit; raise it (ulimit -n 1024), or run with -np 1"

Run = Callable[[argparse.Namespace], int]


def make_parser(prog: str, purpose: str, example: str) -> argparse.ArgumentParser:
    """A parser whose --help ends in an example that can be pasted."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=purpose,
        epilog=f"example:\n{example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def add_workers(parser: argparse.ArgumentParser) -> None:
    """`-np N`: how many cases are worked on at a time."""
    parser.add_argument(
        "-np",
        dest="n_workers",
        type=positive_int,
        default=min(8, usable_cores()),
        metavar="N",
        help="cases worked on at a time; 1 runs in this process (default: %(default)s)",
    )


def add_deterministic(parser: argparse.ArgumentParser) -> None:
    """`--deterministic`: the same bytes each time."""
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="the same input gives the same bytes, on a CPU: no chance in algorithms, no seconds in tables",
    )


def add_plan(parser: argparse.ArgumentParser) -> None:
    """`--plan NAME`: which of a data set's plans."""
    parser.add_argument("--plan", metavar="NAME", help="a plan of the data set beside its default one")


def positive_int(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return value


def non_negative_int(text: str) -> int:
    """An argparse type: a whole number of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 0")
    return value


def positive_float(text: str) -> float:
    """An argparse type: a finite number above 0."""
    value = float(text)
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def need_extra(asked_by: str, extra: str, modules: Sequence[str]) -> None:
    """Before anything is begun: that the packages of an extra are there.

    Raises:
        InputError: If one of `modules` is not installed.
    """
    for module in modules:
        if find_spec(module) is None:
            found = f"needs {module}, which is not installed"
            raise InputError(asked_by, found, f"the extra [{extra}]", f"pip install 'bisc-unet[{extra}]'")


def run_command(parser: argparse.ArgumentParser, run: Run, argv: Sequence[str] | None) -> int:
    """Parse and run; returns 0, 1 (work failed), 2 (usage or bad input) or 130 (interrupted).

    Errors of the package are printed as one line. Anything else is a defect of ours: one line too, with the
    traceback where BISC_DEBUG is set. SIGTERM is an interrupt as Ctrl-C is: the work ends at its next step, at once if
    either comes again.
    """
    empty = _empty(sys.argv[1:] if argv is None else argv)
    if empty:
        return _say(parser, f"{empty}: empty; expected a value; is a variable of your script unset?", BAD_INPUT)
    args = parser.parse_args(argv)
    again = "the same command again" + (" with --continue" if "--continue" in parser.format_usage() else "")
    line = _error_line(parser.prog, f"interrupted; finished work is kept, run {again} to go on")
    with stoppable(line) as outermost:
        try:
            check()
            return _run_or_say(parser, run, args)
        except KeyboardInterrupt:
            if not outermost:  # bisc_demo runs other commands, and answers for them
                raise
            say(line)
            return INTERRUPTED


def _empty(argv: Sequence[str]) -> str:
    """The first argument without a character, by its option or place; a path of none would be the current folder."""
    for number, (before, given) in enumerate(zip(["", *argv], argv, strict=False), 1):
        option, equals, value = given.partition("=")
        if option.startswith("-") and equals and not value.strip():
            return option
        if not given.strip():
            return before if before.startswith("-") else f"argument {number}"
    return ""


def _run_or_say(parser: argparse.ArgumentParser, run: Run, args: argparse.Namespace) -> int:
    try:
        with notices_shown_by(parser.prog):
            return run(args)
    except BiscError as error:
        if _lacks_files(error):
            return _say(parser, TOO_MANY_FILES, FAILED)
        return _say(parser, str(error), BAD_INPUT if isinstance(error, InputError) else FAILED)
    except BrokenPipeError:  # of a caller's own stdout; a command's never fails (bisc.system.console)
        return OK
    except Exception as error:  # noqa: BLE001 - the last line of defence of a command
        if os.environ.get("BISC_DEBUG"):
            traceback.print_exc()
        if _lacks_files(error):
            return _say(parser, TOO_MANY_FILES, FAILED)
        return _say(
            parser,
            one_line(f"unexpected {type(error).__name__}: {error} (set BISC_DEBUG=1 for the traceback)"),
            FAILED,
        )


def _lacks_files(error: BaseException | None) -> bool:
    """Whether an error came of the limit of open files, which is no file's fault."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.EMFILE:
            return True
        error = error.__cause__ or error.__context__
    return False


def status_of(errors: Sequence[BiscError]) -> int:
    """The exit status of work on many cases: 2 where an input was at fault, 1 where the work failed, else 0."""
    if any(isinstance(error, InputError) for error in errors):
        return BAD_INPUT
    return FAILED if errors else OK


def complain(parser_or_prog: argparse.ArgumentParser | str, message: str) -> None:
    """One line on stderr, in the form 'bisc_x: error: ...'."""
    prog = parser_or_prog if isinstance(parser_or_prog, str) else parser_or_prog.prog
    say(_error_line(prog, message))


def _error_line(prog: str, message: str) -> str:
    return f"{prog}: error: {message}"


def _say(parser: argparse.ArgumentParser, message: str, status: int) -> int:
    complain(parser, message)
    return status
