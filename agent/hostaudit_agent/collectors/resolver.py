"""How this host resolves names: /etc/resolv.conf as resolv.conf(5) and glibc (resolv/res_init.c) read it.

The last ``search`` or ``domain`` line counts; of nameservers the first three, of search domains the first six before
glibc 2.26 and all of them since. ``options`` lines add up. ``RES_OPTIONS`` and nsswitch are each process's own matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hostaudit_agent.snapshot import Resolver

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.root import Root

FILE = "etc/resolv.conf"
MOST_NDOTS = 15
"""RES_MAXNDOTS: glibc takes no larger number."""
BOUND = 64
"""Entries of a list; no resolver takes as many."""


def collect(root: Root, before: Any, unread: Callable[[str, str], None]) -> Resolver:
    """Return what the file says; without one a resolver asks this host itself."""
    del before, unread
    text = root.read_text(FILE)
    return Resolver("", present=False) if text is None else parse(text)


def parse(text: str) -> Resolver:
    """Parse the file. Words that are not known are kept as options."""
    found = Resolver("/" + FILE)
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and len(words) > 1:
            found.nameservers.append(words[1])
        elif words[0] in ("search", "domain") and len(words) > 1:
            found.search = [w.rstrip(".") or "." for w in words[1 : None if words[0] == "search" else 2]]
        elif words[0] == "options":
            for word in words[1:]:
                _option(found, word)
    found.nameservers, found.search, found.options = (
        found.nameservers[:BOUND],
        found.search[:BOUND],
        found.options[:BOUND],
    )
    return found


def _option(found: Resolver, word: str) -> None:
    name, _, value = word.partition(":")
    if name == "ndots" and value.isdecimal():
        found.ndots = min(int(value), MOST_NDOTS)
    else:
        found.options.append(word)
