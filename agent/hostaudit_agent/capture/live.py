"""The line to the controller while the agent runs: "ready" one way, the end of the work the other.

The loader that brings the agent keeps its streams and names their descriptors in ``HOSTAUDIT_LIVE``. By hand there is
no such line: the work then ends by its own bounds.
"""

from __future__ import annotations

import os
from contextlib import suppress

VARIABLE = "HOSTAUDIT_LIVE"


class Live:
    """The line; ``stop`` is a descriptor that becomes readable when it is over, ``None`` without a controller."""

    def __init__(self, value: str | None = None) -> None:
        words = (os.environ.get(VARIABLE, "") if value is None else value).split()
        self.stop: int | None = None
        self._out, self._nonce = -1, ""
        with suppress(ValueError):
            stop, out, nonce = words
            self.stop, self._out, self._nonce = int(stop), int(out), nonce

    def ready(self) -> None:
        """Say that the work has begun. OSError when nobody listens any more."""
        if self.stop is not None:
            os.write(self._out, f"\n{self._nonce} live\n".encode())
