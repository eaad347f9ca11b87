"""What is asked of a host: the command line that starts the agent there, and what goes to its stdin."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CANDIDATES = tuple((f"python3{minor}",) for minor in ("", ".14", ".13", ".12", ".11", ".10", ".9"))
"""Where the distribution's python3 is too old a newer one often lies beside it."""
TOO_OLD = 86

# Parsed by whatever Python is there, 2.7 included: it must arrive at saying that it is too old.
_FIRST_LINE = (
    "import sys;sys.version_info<(3,9)and(sys.stderr.write(sys.version),sys.exit({old}));"
    "exec(sys.stdin.buffer.read({size}))"
)


@dataclass(frozen=True, slots=True)
class Request:
    """What to run, and how."""

    agent: bytes = field(repr=False)
    arguments: tuple[str, ...] = ()
    python: tuple[str, ...] = ()
    become: bool = False
    become_user: str = "root"
    become_password: str = field(default="", repr=False)
    seconds: float = 60.0
    """After which the loader ends itself, should nobody be left to end it."""
    max_output: int = 8 << 20
    live: Callable[[Callable[[bytes], object]], object] | None = field(default=None, repr=False)
    """Called once the agent says that it is ready, with what sends to its stdin; ``None``: nobody waits for that."""
    nonce: str = field(default_factory=lambda: "hostaudit-" + secrets.token_hex(12))

    @property
    def program(self) -> bytes:
        """What goes to stdin: the loader and its call, then the agent."""
        return self.loader + self.agent

    @property
    def loader(self) -> bytes:
        """The loader's source with the call at its end."""
        call = (
            f"\nmain({self.nonce!r}, {len(self.agent)}, {list(self.arguments)!r}, {self.max_output}, "
            f"{max(1, round(self.seconds))})\n"
        )
        return _loader_source() + call.encode()

    @property
    def command(self) -> str:
        """The command line. One line without single quotes inside, so that any login shell passes it on."""
        first = _FIRST_LINE.format(old=TOO_OLD, size=len(self.loader))
        tries = []
        for words in [self.python] if self.python else CANDIDATES:
            name = " ".join(f'"{w}"' for w in words)
            tries.append(
                f'if command -v "{words[0]}" >/dev/null 2>&1; then $t {name} -I -S -c "$b"; r=$?; '
                f'[ $r -eq {TOO_OLD} ] || exit $r; o="$o {words[-1]}"; fi; '
            )
        # The loader ends itself; an interpreter that hangs before it gets there must not stay behind either.
        ending = f"timeout -k 5 {round(self.seconds) + 5}"
        bound = f't=; timeout -k 1 1 true 2>/dev/null && t="{ending}"; '
        inner = f'{bound}b="{first}"; o=; {"".join(tries)}echo; echo {self.nonce} nopython $o; exit 87'
        if not self.become:
            return f"exec /bin/sh -c '{inner}'"
        how = f'-S -p "{self.nonce} prompt"' if self.become_password else "-n"
        outer = (
            f'LC_ALL=C; export LC_ALL; [ "$(id -un)" = "$1" ] && exec /bin/sh -c "$0"; '
            f"command -v sudo >/dev/null 2>&1 || {{ echo; echo {self.nonce} nosudo; exit 87; }}; "
            f'exec sudo {how} -u "$1" /bin/sh -c "$0"'
        )
        return f"exec /bin/sh -c '{outer}' 'echo; echo {self.nonce} ready; {inner}' '{self.become_user}'"


@cache
def _loader_source() -> bytes:
    return (resources.files("hostaudit.delivery") / "loader.py").read_bytes()
