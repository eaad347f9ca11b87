"""ssh_config files: read once, ``Include`` expanded, looked up by host.

paramiko parses and matches (Host, Match, canonical names, tokens); it knows no ``Include``, which is put in place here
before it reads.
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
    from collections.abc import Iterator

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
            found = _parsed(config_file).lookup(host)
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


@lru_cache(maxsize=64)
def _parsed(config_file: str) -> paramiko.SSHConfig:
    import paramiko

    if config_file == "none":
        return paramiko.SSHConfig()
    if config_file and not Path(config_file).expanduser().is_file():
        raise HostError("connect", f"-F {config_file}: there is no such file; correct ansible_ssh_common_args")
    files = [config_file] if config_file else [USER_FILE, SYSTEM_FILE]
    lines: list[str] = []
    for file in files:
        path = Path(file).expanduser()
        lines += _lines(path, path.parent if not config_file else Path("~/.ssh").expanduser(), 0)
        lines.append("Host *")  # what follows in the next file is not part of this one's last block
    try:
        return paramiko.SSHConfig.from_text("\n".join(lines))
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
