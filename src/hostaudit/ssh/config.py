"""ssh_config files: read once, ``Include`` expanded, looked up by host.

paramiko parses and matches (Host, Match, canonical names, tokens); it knows no ``Include``, which is put in place here
before it reads. It tries every block for every host, twice, which with a block per host costs more with every host of
the fleet (15 ms for each of 1,000): blocks that name other hosts, without a pattern, are left out before.
"""

from __future__ import annotations

import glob
import shlex
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hostaudit.failures import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import paramiko

USER_FILE = "~/.ssh/config"
SYSTEM_FILE = "/etc/ssh/ssh_config"
_DEEPEST = 16
"""Levels of Include, as in OpenSSH (readconf.c, READCONF_MAX_DEPTH)."""

_lock = threading.Lock()


def options(host: str, config_file: str = "") -> dict[str, tuple[str, ...]]:
    """Return what the files say about a host: keyword in lower case -> values.

    ``config_file`` is ``-F``: that file and no other; ``none``: no file at all. Raises HostError of kind ``connect``
    that names the file and the line that cannot be read.
    """
    # paramiko expands tokens in place and asks for the local user and host name: one thread at a time.
    with _lock:
        try:
            found = _parsed(config_file).of(host).lookup(host)
        except HostError:
            raise
        except Exception as problem:  # noqa: BLE001 - paramiko raises bare KeyError and ValueError for odd settings
            raise HostError(
                "connect",
                f"{config_file or USER_FILE} cannot be applied to {host}: {problem}; check with `ssh -G {host}`",
            ) from None
    return {
        keyword: tuple(value) if isinstance(value, list) else (value,)
        for keyword, value in found.items()
        if value is not None
    }


class _Blocks:
    """The lines of the files, by the hosts that they are for."""

    def __init__(self, lines: Sequence[str]) -> None:
        """Sort the lines. Raises paramiko.ConfigParseError."""
        import paramiko

        self._parse = paramiko.SSHConfig.from_text
        self._whole = self._parse("\n".join(lines))
        self._for_all: list[tuple[int, str]] = []
        self._named: dict[str, list[tuple[int, str]]] = {}
        names: list[str] = []
        for number, line in enumerate(lines):
            words = line.strip().replace("=", " ", 1).split()
            if words and words[0].lower() in {"host", "match"}:
                plain = words[0].lower() == "host" and not any(c in line for c in "*?[!\"'\\")
                names = list(dict.fromkeys(words[1:])) if plain else []
            for name in names:
                self._named.setdefault(name, []).append((number, line))
            if not names:
                self._for_all.append((number, line))
        self._common = self._whole
        if any("canonical" in line.lower() for line in lines):
            self._named.clear()  # a host may get another name on the way
        elif self._named:
            self._common = self._parse("\n".join(line for _, line in self._for_all))

    def of(self, host: str) -> paramiko.SSHConfig:
        """Return a configuration that says of this host what all of the files say."""
        own = self._named.get(host)
        return self._parse("\n".join(line for _, line in sorted([*own, *self._for_all]))) if own else self._common


@lru_cache(maxsize=64)
def _parsed(config_file: str) -> _Blocks:
    import paramiko

    if config_file == "none":
        return _Blocks([])
    if config_file and not Path(config_file).expanduser().is_file():
        raise HostError("connect", f"-F {config_file}: there is no such file; correct ansible_ssh_common_args")
    files = [config_file] if config_file else [USER_FILE, SYSTEM_FILE]
    lines: list[str] = []
    for file in files:
        path = Path(file).expanduser()
        lines += _lines(path, path.parent if not config_file else Path("~/.ssh").expanduser(), 0)
        lines.append("Host *")  # what follows in the next file is not part of this one's last block
    try:
        return _Blocks(lines)
    except paramiko.ConfigParseError as problem:
        raise HostError("connect", f"{' or '.join(files)}: {problem}; correct it, `ssh -G x` checks it") from None


def _lines(file: Path, relative_to: Path, depth: int) -> Iterator[str]:
    """Yield the lines of a file with every Include replaced by what it includes.

    After an included file the block that was open goes on. An Include inside a block that does not match is read all
    the same, as Host lines within it decide for themselves; ssh would skip those.
    """
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return
    block = "Host *"
    for line in text.splitlines():
        words = line.strip().replace("=", " ", 1).split(None, 1)
        keyword = words[0].lower() if words else ""
        if keyword in {"host", "match"}:
            block = line
        if keyword != "include" or len(words) < 2 or depth >= _DEEPEST:
            yield line
            continue
        for pattern in shlex.split(words[1]):
            absolute = relative_to / Path(pattern).expanduser()
            for name in sorted(glob.glob(str(absolute))):  # noqa: PTH207 - Path.glob refuses absolute patterns
                yield from _lines(Path(name), relative_to, depth + 1)
        yield block
