"""Python's garbage collector, which walks what a fleet's answers are made of again and again by default."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def collected_after(objects: int) -> Iterator[None]:
    """Have it look for circles after that many new objects, 0: never; what was set before comes back."""
    was = gc.get_threshold()
    gc.set_threshold(objects, *was[1:])
    try:
        yield
    finally:
        gc.set_threshold(*was)
