"""What this node remembers of who may have changed a knob. Asked for hosts that drifted; never part of a reading.

    python3 hostaudit-agent.pyz traces '{"since": UNIX, "files": [PATH], "words": [SYSCTL]}'

It reads files, and runs journalctl where sudo's lines are nowhere else: the journal's format has no reader in Python's
library. Everything is bounded. What cannot be read is named with the reason.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from hostaudit_agent import __version__
from hostaudit_agent.reader import reason
from hostaudit_agent.root import Root
from hostaudit_agent.snapshot import Snapshot, Traces, Unread
from hostaudit_agent.traces import files, logins, logs, mentions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WORDS, FILES = 64, 64


def take(asked: dict[str, Any], root: Root) -> Snapshot:
    """Return a snapshot that holds traces only."""
    since = float(asked.get("since", 0.0))
    words = [str(word) for word in asked.get("words", ())][:WORDS]
    paths = [str(path) for path in asked.get("files", ())][:FILES]
    snapshot = Snapshot(agent=__version__, taken=0.0, interval=0.0, privileged=False)
    found = snapshot.traces = Traces(since)
    parts: dict[str, Callable[[], Any]] = {
        "files": lambda: files.traces(root, paths, since),
        "packages": lambda: logs.packages(root, since),
        "logins": lambda: logins.read(root, since),
        "commands": lambda: logs.commands(root, since),
        "mentions": lambda: mentions.find(root, words),
    }
    for name, read in parts.items():
        try:
            setattr(found, name, read())
        except Exception as e:  # noqa: BLE001 - whatever is wrong with one trace, the others are read
            snapshot.unread.append(Unread(f"traces.{name}", reason(e)))
    snapshot.taken = round(time.time(), 3)
    return snapshot


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    from hostaudit_agent.document import as_json  # noqa: PLC0415 - it imports this module by name

    try:
        asked = json.loads(arguments[0])
    except (IndexError, ValueError):
        asked = None
    if not isinstance(asked, dict):
        sys.stderr.write("hostaudit-agent: traces takes one JSON object; `hostaudit drift` makes it\n")
        return 2
    sys.stdout.write(as_json(take(asked, Root())) + "\n")
    return 0
