"""Says what is waited for: at once when it is something else, otherwise every ten seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY = 10.0
"""Seconds after which the same thing is said again, so that nobody takes the program for dead."""


@dataclass(slots=True)
class Waiting:
    """One wait; call it with a sentence as often as you look."""

    say: Callable[[str], object]
    said: str = ""
    at: float = 0.0
    """Monotonic clock, when ``said`` was said."""

    def __call__(self, text: str) -> None:
        """Say the sentence, unless it has just been said."""
        now = time.monotonic()
        if text != self.said or now - self.at >= EVERY:
            self.say(text)
            self.said, self.at = text, now
