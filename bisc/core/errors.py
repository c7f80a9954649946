"""Errors that a user can mend: one line that names the file, what was found, what is expected and the mend."""

from __future__ import annotations

from pathlib import Path
from typing import Final


class BiscError(Exception):
    """Base of every error this package raises on purpose; its text is one line, fit for a user."""


class InputError(BiscError):
    """Something the user gave cannot be used; commands end with exit status 2.

    Args:
        what: The file or option at fault.
        found: What stands there.
        expected: What would be right.
        mend: What the user can do about it.
    """

    def __init__(self, what: Path | str, found: str, expected: str = "", mend: str = "") -> None:
        self.what, self.found, self.expected, self.mend = str(what), found, expected, mend
        parts = [f"{self.what}: {found}"]
        if expected:
            parts.append(f"expected {expected}")
        if mend:
            parts.append(mend)
        super().__init__(one_line("; ".join(shortened(part) for part in parts)))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str, str]]:
        """Errors travel between worker processes: pickle by the four parts, not by the joined text."""
        return InputError, (self.what, self.found, self.expected, self.mend)


class PassedOver(InputError):
    """What is sound and no scan to work on (a localizer, a report): named, and no failure."""

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str, str]]:
        """As `InputError`."""
        return PassedOver, (self.what, self.found, self.expected, self.mend)


class WorkError(BiscError):
    """The input was right and the work failed all the same; commands end with exit status 1."""


MAX_PART: Final = 600
"""Characters of one part of a message: a file's own words can be megabytes."""


def one_line(text: str) -> str:
    """`text` with every run of white space made one blank, and what a terminal would obey or cannot show escaped."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def shortened(text: str, n: int = MAX_PART) -> str:
    """`text`, its middle left out where it is longer than `n` characters."""
    return text if len(text) <= n else f"{text[: n // 2]} ... {text[-n // 2 :]}"
