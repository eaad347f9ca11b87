"""From a login to the hops that lead there: ssh arguments, ~/.ssh/config and ssh's defaults, put together.

Precedence is that of the ssh command line which Ansible would build: the login's own values, then its ``-o`` options,
then the configuration files. As with ``ssh -J``, a jump host takes its settings from the configuration file, not from
the ``-o`` options that were meant for the target.
"""

from __future__ import annotations

import getpass
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hostaudit.failures import HostError
from hostaudit.ssh import config
from hostaudit.ssh.credentials import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hostaudit.login import Login

USER_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
REPORTED = ("ciphers", "kexalgorithms", "macs", "hostkeyalgorithms", "revokedhostkeys", "pkcs11provider", "bindaddress")
"""Keywords of a configuration file that matter and are not followed here."""

_MOST_JUMPS = 8
_JUMP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[^]]+\]|[^:]+|.*:.*:.*?)(?::(?P<port>\d+))?\Z")


@dataclass(frozen=True, slots=True)
class Hop:
    """One SSH server on the way; the last hop is the host itself."""

    name: str
    """As the inventory or the jump list names it."""
    address: str
    port: int
    identity: Identity
    key_name: str
    """Under which known_hosts is asked: HostKeyAlias, or the address."""
    known_hosts: tuple[str, ...]
    strict: bool = True
    """False only where the user's own options say ``StrictHostKeyChecking no`` (or ``off``, ``accept-new``)."""
    accept_new: bool = False
    """A key that is not known is taken, a changed one is not; nothing is written down."""
    proxy_command: str = ""
    family: str = "any"
    timeout: float | None = None

    @property
    def where(self) -> str:
        """``name (address:port)`` for people, as short as it can be."""
        place = f"[{self.address}]" if ":" in self.address else self.address
        place = place if self.port == 22 else f"{place}:{self.port}"
        return place if self.name == self.address else f"{self.name} ({place})"


@dataclass(frozen=True, slots=True)
class Route:
    """The hops in the order in which they are connected, and settings that are not followed."""

    hops: tuple[Hop, ...]
    ignored: tuple[str, ...] = field(default=())


def find(login: Login) -> Route:
    """Return the way to a host. Raises HostError of kind ``connect`` or ``inventory``."""
    own = dict(login.options)
    if login.port:
        own["port"] = (str(login.port),)
    if login.user:
        own["user"] = (login.user,)
    if login.timeout:
        own.setdefault("connecttimeout", (str(login.timeout),))
    explicit = (*login.keys, *own.pop("identityfile", ()))
    finder = _Finder(login)
    finder.append(login.name, login.address, own, explicit, depth=0)
    ignored = [f"ssh argument {text}" for text in login.ignored] + finder.ignored
    return Route(tuple(finder.hops), tuple(dict.fromkeys(ignored)))


class _Finder:
    """Collects the hops to one host."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self.hops: list[Hop] = []
        self.ignored: list[str] = []

    def append(
        self, name: str, address: str, own: Mapping[str, tuple[str, ...]], explicit: tuple[str, ...], *, depth: int
    ) -> None:
        """Append the hop for ``address``, and before it the hops that lead to it."""
        file = config.options(address, self.login.config_file)
        self.ignored += [f"{k} of ssh_config" for k in REPORTED if k in file]

        def get(keyword: str, otherwise: str = "") -> str:
            return (own.get(keyword) or file.get(keyword) or (otherwise,))[0]

        jumps, command = get("proxyjump"), get("proxycommand")
        if "proxyjump" not in own and "proxycommand" in own:
            jumps = ""  # whichever was said first holds; the command line is said before the file
        if jumps and jumps.lower() != "none":
            command = ""
            self._jump(jumps, address, depth)
        actual = get("hostname", address).replace("%h", address)
        port = _port(get("port", "22"), name)
        user = get("user") or getpass.getuser()
        strict = get("stricthostkeychecking", "yes").lower()
        agent = get("identityagent")
        if agent and agent not in {"none", "SSH_AUTH_SOCK", "$SSH_AUTH_SOCK"}:
            self.ignored.append(f"IdentityAgent {agent} (the agent of SSH_AUTH_SOCK is asked)")
        files = [get("userknownhostsfile", USER_KNOWN_HOSTS), get("globalknownhostsfile", GLOBAL_KNOWN_HOSTS)]
        self.hops.append(
            Hop(
                name=name,
                address=actual,
                port=port,
                identity=Identity(
                    user=user,
                    explicit=explicit,
                    configured=file.get("identityfile", ()),
                    identities_only=get("identitiesonly").lower() == "yes",
                    agent=agent != "none",
                    password="" if depth else self.login.password,
                ),
                key_name=get("hostkeyalias") or actual,
                known_hosts=tuple(
                    str(Path(f).expanduser()) for text in files for f in text.split() if f.lower() != "none"
                ),
                strict=strict not in {"no", "off", "accept-new"},
                accept_new=strict == "accept-new",
                proxy_command="" if command.lower() == "none" else _expand(command, actual, port, user, address),
                family=get("addressfamily", "any").lower(),
                timeout=_seconds(get("connecttimeout")),
            )
        )

    def _jump(self, jumps: str, address: str, depth: int) -> None:
        """Append the hops of a ProxyJump list. ssh runs one more ssh per jump: only the first may have its own way."""
        if depth >= _MOST_JUMPS:
            raise HostError(
                "connect", f"ProxyJump of {address} never ends; is it a circle? `ssh -G {address}` shows it"
            )
        for number, jump in enumerate(jumps.split(",")):
            parts = _JUMP.match(jump.strip())
            if not parts:
                raise HostError("connect", f"ProxyJump {jump.strip()!r} is not [user@]host[:port]; correct it")
            host = parts["host"].strip("[]")
            if host == address:
                continue  # `Host *` with a ProxyJump holds for the jump host, too
            own = {k: (v,) for k, v in (("user", parts["user"]), ("port", parts["port"])) if v}
            if number:
                own["proxyjump"] = ("none",)
            self.append(host, host, own, (), depth=depth + 1)


def _port(text: str, name: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise HostError("connect", f"port {text!r} of {name} is not a number from 1 to 65535; correct it in ssh_config")
    return int(text)


def _seconds(text: str) -> float | None:
    try:
        return float(text) or None
    except ValueError:
        return None


def _expand(command: str, host: str, port: int, user: str, original: str) -> str:
    """Replace the tokens of ProxyCommand (ssh_config(5), TOKENS)."""
    tokens = {"%%": "%", "%h": host, "%p": str(port), "%r": user, "%n": original}
    return re.sub(r"%[%hprn]", lambda m: tokens[m[0]], command)
