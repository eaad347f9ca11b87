"""Keeps guards waiting while a role runs, so that the end of the wait means: the controller is dead, or cut off.

Every beat is a connection of its own, as all questions to a guard are: a role that cuts new connections stops it, and
the host goes back although Ansible's own connection lives. How long a role may take is the player's to limit.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PART = 3
"""Beats in the time for the confirmation: two may be lost."""
LAST = 15.0
"""Seconds to wait for a beat that is on its way at the end; after that the wait would begin later than one thinks."""


@contextmanager
def beating(ask: Callable[..., object], hosts: Sequence[str], guard: str, seconds: int) -> Iterator[None]:
    """Have the guards of ``hosts`` begin their wait of ``seconds`` again, PART times in each.

    What becomes of a beat does not matter here: a guard that is not armed yet, or not any more, refuses it, and a host
    that cannot be reached is to go back.
    """
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(seconds / PART):
            with suppress(Exception):
                ask(hosts, "extend", guard, str(seconds))

    thread = threading.Thread(target=beat, daemon=True, name="hostaudit-heartbeat")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(LAST)
