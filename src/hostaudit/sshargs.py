"""Options of the ssh(1) command line, as they stand in ``ansible_ssh_common_args`` and its relatives. Pure.

Ansible hands these strings to OpenSSH; here they are understood, or named as ignored: a setting that somebody made is
never dropped silently.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from functools import lru_cache

UNDERSTOOD = frozenset(
    {
        "addressfamily",
        "connecttimeout",
        "globalknownhostsfile",
        "hostkeyalias",
        "hostname",
        "identitiesonly",
        "identityagent",
        "identityfile",
        "port",
        "proxycommand",
        "proxyjump",
        "stricthostkeychecking",
        "user",
        "userknownhostsfile",
    }
)
"""Keywords of ssh_config(5) that decide how a connection is made here, in lower case."""

WITHOUT_EFFECT = frozenset(
    {
        "batchmode",
        "canonicaldomains",
        "canonicalizefallbacklocal",
        "canonicalizehostname",
        "canonicalizemaxdots",
        "checkhostip",
        "clearallforwardings",
        "compression",
        "connectionattempts",
        "controlmaster",
        "controlpath",
        "controlpersist",
        "escapechar",
        "exitonforwardfailure",
        "forkafterauthentication",
        "forwardagent",
        "forwardx11",
        "forwardx11trusted",
        "gssapiauthentication",
        "gssapidelegatecredentials",
        "hashknownhosts",
        "ignoreunknown",
        "ipqos",
        "kbdinteractiveauthentication",
        "localforward",
        "loglevel",
        "numberofpasswordprompts",
        "passwordauthentication",
        "preferredauthentications",
        "pubkeyauthentication",
        "requesttty",
        "sendenv",
        "serveralivecountmax",
        "serveraliveinterval",
        "setenv",
        "tcpkeepalive",
        "updatehostkeys",
        "usekeychain",
        "verifyhostkeydns",
        "visualhostkey",
    }
)
"""Keywords that change nothing about one short connection without a terminal: not worth a word."""

_WITH_VALUE = {"i": "identityfile", "J": "proxyjump", "l": "user", "p": "port"}
_OTHER_WITH_VALUE = frozenset("BbcDEeILmOQRSWw")
_FLAGS = frozenset("AaCfGgKkMNnqsTtVvXxYy")
_MANY = frozenset({"identityfile"})


@dataclass(frozen=True, slots=True)
class SshArgs:
    """What a string of ssh arguments says."""

    options: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Keyword in lower case -> its value; the first one given holds, as in ssh. ``identityfile`` may have several."""
    config_file: str = ""
    """``-F``; ``none`` means no configuration file at all."""
    ignored: tuple[str, ...] = ()
    """What is not understood, as it was written."""


@lru_cache(maxsize=256)
def split(text: str) -> tuple[str, ...]:
    """Split a command line; most hosts of an inventory have the same. Raises ValueError for open quotes."""
    return tuple(shlex.split(text))


def parse(text: str) -> SshArgs:
    """Read a string of ssh arguments. Raises ValueError for quotes that do not close or a value that is missing."""
    words = split(text)
    options: dict[str, tuple[str, ...]] = {}
    ignored: list[str] = []
    config_file = ""
    position = 0

    def value(word: str, at: int) -> tuple[str, int]:
        """Return the value of the flag at ``word[at]``: the rest of the word, or the next word."""
        if word[at + 1 :]:
            return word[at + 1 :], position
        if position + 1 >= len(words):
            raise ValueError(f"-{word[at]} lacks its value")
        return words[position + 1], position + 1

    while position < len(words):
        word = words[position]
        if not word.startswith("-") or word in {"-", "--"}:
            ignored.append(word)
            position += 1
            continue
        for at in range(1, len(word)):
            flag = word[at]
            if flag in _FLAGS:
                continue
            if flag in "46":
                options.setdefault("addressfamily", ("inet" if flag == "4" else "inet6",))
                continue
            if flag == "o":
                given, position = value(word, at)
                _option(given, options, ignored)
            elif flag == "F":
                given, position = value(word, at)
                config_file = config_file or given
            elif flag in _WITH_VALUE:
                given, position = value(word, at)
                _add(_WITH_VALUE[flag], given, options)
            elif flag in _OTHER_WITH_VALUE:
                given, position = value(word, at)
                ignored.append(f"-{flag} {given}")
            else:
                ignored.append(f"-{word[at:]}")
            break
        position += 1
    return SshArgs(options, config_file, tuple(ignored))


def _option(text: str, options: dict[str, tuple[str, ...]], ignored: list[str]) -> None:
    """Take one ``Keyword=value`` or ``Keyword value``."""
    keyword, separator, given = text.strip().partition("=")
    if not separator or any(c.isspace() for c in keyword.strip()):
        keyword, _, given = text.strip().partition(" ")
    keyword, given = keyword.strip(), given.strip().removeprefix("=").strip()
    if len(given) > 1 and given[0] == given[-1] == '"':
        given = given[1:-1]
    name = keyword.lower()
    if not given:
        raise ValueError(f"-o {keyword} lacks its value")
    if name in UNDERSTOOD:
        _add(name, given, options)
    elif name not in WITHOUT_EFFECT:
        ignored.append(f"-o {keyword}={given}")


def _add(name: str, given: str, options: dict[str, tuple[str, ...]]) -> None:
    if name in _MANY:
        options[name] = (*options.get(name, ()), given)
    else:
        options.setdefault(name, (given,))
