"""What the installed agent kept on this node: read here, and told as a summary of its last day.

There is a ring where role ``agent`` was applied. It belongs to root; nobody else may look into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit_agent.collectors import UnreadableError
from hostaudit_agent.snapshot import Ring

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.root import Root

DIRECTORY = "var/lib/hostaudit/ring"
DAY = 86400.0
STALE = 7800.0
"""Seconds: the longest interval between two ticks is an hour."""
LARGEST = 8 << 20
"""Bytes that are read, the newest."""


def collect(root: Root, before: Any, unread: Callable[[str, str], None]) -> Ring:
    """Return the summary; with ``present`` false where there is no ring. Raises OSError."""
    del before
    try:
        if not root.names(DIRECTORY):
            return Ring(present=False)
    except PermissionError:
        raise UnreadableError(f"/{DIRECTORY} needs root") from None
    import time  # noqa: PLC0415 - most nodes have no ring

    from hostaudit_agent.ring.store import LAST, is_segment  # noqa: PLC0415 - as above
    from hostaudit_agent.ring.summary import parse, summarize  # noqa: PLC0415 - as above

    now = time.time()
    records: list[dict[str, Any]] = []
    size = damaged = 0
    for name in sorted(filter(is_segment, root.names(DIRECTORY)), reverse=True):
        data = root.read_bytes(f"{DIRECTORY}/{name}") or b""  # it may be removed while we read
        size += len(data)
        if size > LARGEST:
            unread("", f"the ring is larger than {LARGEST >> 20} MiB; only the newest of it was read")
            break
        good, bad = parse(data)
        records[:0] = good
        damaged += bad
        if good and good[0]["t"] < now - DAY:
            break
    found = summarize(records, now, damaged)
    age = now - records[-1]["t"] if records else 0.0
    if age > STALE:
        unread("", f"the installed agent looked last {age / 3600:.0f} h ago; see hostaudit-agent.service")
    _last(root.read_text(f"{DIRECTORY}/{LAST}"), found)
    return found


def _last(text: str | None, found: Ring) -> None:
    """Take from the last tick what it could not read."""
    import json  # noqa: PLC0415 - as above

    try:
        state = json.loads(text or "{}")
        found.unread = {str(part): str(why)[:200] for part, why in state.get("u", {}).items()}
    except (ValueError, AttributeError):  # replaced as a whole, but a power cut may leave it empty
        return
