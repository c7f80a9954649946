"""What a prediction says of its own trustworthiness: flags and a traffic light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Light = Literal["green", "amber", "red"]
LIGHTS: Final[tuple[Light, ...]] = ("green", "amber", "red")
"""From nothing found wrong to a mask that must not be used unseen."""


@dataclass(frozen=True)
class Flag:
    """One number that was looked at.

    Attributes:
        name: A word, as in `cut_by_the_view`.
        value: What was found; None where it could not be told.
        limit: Beyond it the flag is raised.
        level: Its own light.
        words: A sentence for people: what was found and what it may mean.
    """

    name: str
    value: float | None
    limit: float | None
    level: Light
    words: str


@dataclass(frozen=True)
class Flags:
    """All that was looked at in one case.

    Attributes:
        light: Of the whole.
        risk: Estimated probability that the mask is wrong, 0 to 1; None where it was not estimated.
        flags: Raised or not.
    """

    light: Light
    risk: float | None
    flags: tuple[Flag, ...]

    @property
    def raised(self) -> tuple[Flag, ...]:
        """Those that are not green."""
        return tuple(flag for flag in self.flags if flag.level != "green")
