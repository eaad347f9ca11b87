"""One module per surface, with the surface's name.

A collector is a module with

``sample(root)``
    the counters that are read twice; anything picklable. Optional.
``collect(root, before, unread)``
    the surface. ``before`` is what ``sample`` returned ``interval`` seconds ago, or ``None`` with one sample.
    ``unread(part, reason)`` records a part that could not be read; the part is prefixed with the surface's name.
``later(root, found, unread, census)``
    adds to the surface what takes long, once all others are read. Optional.

It only reads ``/proc``, ``/sys``, ``/etc`` and netlink; it starts no process where the kernel has an interface; it
draws no conclusions. A whole surface that cannot be read is an exception: ``UnreadableError`` with a sentence for
people, or ``OSError``.
"""

from __future__ import annotations


class UnreadableError(Exception):
    """A surface that cannot be read here; the message says why and, where it helps, what would."""
