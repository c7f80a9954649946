"""Errors that a user can mend: one line that names the file, what was found, what is expected and the mend."""

from __future__ import annotations

from pathlib import Path


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
        super().__init__(one_line("; ".join(parts)))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str, str]]:
        """Errors travel between worker processes: pickle by the four parts, not by the joined text."""
        return InputError, (self.what, self.found, self.expected, self.mend)


class WorkError(BiscError):
    """The input was right and the work failed all the same; commands end with exit status 1."""


def one_line(text: str) -> str:
    """`text` with every run of white space, line breaks among it, made one blank."""
    return " ".join(text.split())
