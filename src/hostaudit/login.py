"""From a host's variables and the command line's flags to one value that says how to log in there. Pure.

Precedence is Ansible's: the inventory's variable, then the command line's flag, then ansible.cfg. What none of them
says is left to ~/.ssh/config (``route``), and then to ssh's own defaults.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hostaudit import sshargs
from hostaudit.failures import HostError, excerpt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hostaudit.model import Host

UNRESOLVED = "hostaudit_unresolved"
"""Variable under which ``inventory`` keeps, by name, why Ansible could not resolve a connection variable."""

HOST = ("ansible_host", "ansible_ssh_host")
PORT = ("ansible_port", "ansible_ssh_port")
USER = ("ansible_user", "ansible_ssh_user")
PASSWORD = ("ansible_password", "ansible_ssh_pass", "ansible_ssh_password")
KEY = ("ansible_private_key_file", "ansible_ssh_private_key_file")
CHECKING = ("ansible_host_key_checking", "ansible_ssh_host_key_checking")
TIMEOUT = ("ansible_timeout", "ansible_ssh_timeout")
CONNECTION = ("ansible_connection",)
PYTHON = ("ansible_python_interpreter",)
SSH_ARGS = ("ansible_ssh_args",)
COMMON_ARGS = ("ansible_ssh_common_args",)
EXTRA_ARGS = ("ansible_ssh_extra_args",)
BECOME = ("ansible_become",)
BECOME_METHOD = ("ansible_become_method",)
BECOME_USER = ("ansible_become_user", "ansible_sudo_user")
BECOME_PASSWORD = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")
# Where several spellings are set the last one holds, as in Ansible's own plugins.
CONNECTION_VARIABLES = (
    *(HOST + PORT + USER + PASSWORD + KEY + CHECKING + TIMEOUT + CONNECTION + PYTHON),
    *(SSH_ARGS + COMMON_ARGS + EXTRA_ARGS + BECOME + BECOME_METHOD + BECOME_USER + BECOME_PASSWORD),
)
"""Every variable that decides how a host is reached: ``inventory`` lets Ansible resolve Jinja in these."""

_OVER_SSH = {"", "ssh", "smart", "paramiko", "paramiko_ssh"}
_SAFE_WORD = re.compile(r"[\w./+:@%=~,-]+\Z", re.ASCII)
_TRUE = {"1", "true", "yes", "y", "on", "t"}
_FALSE = {"0", "false", "no", "n", "off", "f", ""}


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line, or ansible.cfg, says for every host. Empty or ``None``: it says nothing."""

    user: str = ""
    private_key: str = ""
    password: str = field(default="", repr=False)
    connection: str = ""
    ssh_args: str = ""
    ssh_common_args: str = ""
    ssh_extra_args: str = ""
    host_key_checking: bool | None = None
    timeout: int | None = None
    """Seconds, for connecting."""
    become: bool | None = None
    become_method: str = ""
    become_user: str = ""
    become_password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Login:
    """How to log in to one host. Secrets stay out of its ``repr``."""

    name: str
    address: str
    port: int | None = None
    user: str = ""
    keys: tuple[str, ...] = ()
    password: str = field(default="", repr=False)
    timeout: float | None = None
    local: bool = False
    python: tuple[str, ...] = ()
    """The interpreter's command; empty: ``python3``, or the newest one there is."""
    become: bool = False
    become_user: str = "root"
    become_password: str = field(default="", repr=False)
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """ssh_config keywords in lower case, from the ssh arguments."""
    config_file: str = ""
    ignored: tuple[str, ...] = ()
    """ssh arguments that this program does not understand; to be reported."""


def resolve(host: Host, flags: Flags, configured: Flags | None = None) -> Login:
    """Return how to log in to ``host``; ``configured`` is what ansible.cfg says.

    Raises HostError of kind ``inventory`` that names the variable and what is wrong with it.
    """
    configured = configured or Flags()
    get = _Variables(host).text
    connection = (get(CONNECTION) or flags.connection or configured.connection).removeprefix("ansible.builtin.")
    if connection not in _OVER_SSH | {"local"}:
        raise HostError(
            "inventory",
            f"ansible_connection={connection} is not supported: hosts are read over ssh or locally; "
            f"set ansible_connection=ssh for this host, or leave it out with --limit",
        )
    become = _boolean(BECOME, get(BECOME), _first(flags.become, configured.become, default=False))
    method = get(BECOME_METHOD) or flags.become_method or configured.become_method or "sudo"
    if become and method.rpartition(".")[2] != "sudo":
        raise HostError("inventory", f"ansible_become_method={method} is not supported, only sudo is; use sudo here")
    try:
        args = sshargs.parse(
            " ".join(
                (
                    get(SSH_ARGS) or flags.ssh_args or configured.ssh_args,
                    get(COMMON_ARGS) or flags.ssh_common_args or configured.ssh_common_args,
                    get(EXTRA_ARGS) or flags.ssh_extra_args or configured.ssh_extra_args,
                )
            )
        )
    except ValueError as problem:
        raise HostError("inventory", f"ansible_ssh_args, _common_args or _extra_args: {problem}") from None
    options = dict(args.options)
    checked = _boolean(CHECKING, get(CHECKING), _first(flags.host_key_checking, configured.host_key_checking))
    if checked is False:
        options.setdefault("stricthostkeychecking", ("no",))
    become_user = get(BECOME_USER) or flags.become_user or configured.become_user or "root"
    if not _SAFE_WORD.match(become_user):
        raise HostError("inventory", f"ansible_become_user={excerpt(become_user, 40)} is not a user's name")
    key = get(KEY) or flags.private_key or configured.private_key
    return Login(
        name=host.name,
        address=get(HOST) or host.name,
        port=_number(PORT, get(PORT), 65535),
        user=get(USER) or flags.user or configured.user,
        keys=(key,) if key else (),
        password=get(PASSWORD) or flags.password,
        timeout=_number(TIMEOUT, get(TIMEOUT), 3600) or flags.timeout or configured.timeout,
        local=connection == "local",
        python=_interpreter(get(PYTHON)),
        become=bool(become),
        become_user=become_user,
        become_password=get(BECOME_PASSWORD) or flags.become_password,
        options=options,
        config_file=args.config_file,
        ignored=args.ignored,
    )


class _Variables:
    """A host's connection variables as text."""

    def __init__(self, host: Host) -> None:
        self._values = host.variables
        why = host.variables.get(UNRESOLVED)
        self._why: Mapping[str, Any] = why if isinstance(why, dict) else {}

    def text(self, names: tuple[str, ...]) -> str:
        """Return the variable, the last spelling that is set; empty where none is."""
        for name in reversed(names):
            value = self._values.get(name)
            if value is None or value == "":
                continue
            if not isinstance(value, str | int | float):
                value = "{{"  # a vault that was not opened arrives as a mapping
            text = str(value)
            if "{{" in text or "{%" in text:
                reason = self._why.get(name) or "its template was not resolved"
                raise HostError(
                    "inventory", f"{name} could not be resolved: {excerpt(str(reason))}; define what it refers to"
                )
            return text
        return ""


def _first(*values: bool | None, default: bool | None = None) -> bool | None:
    return next((v for v in values if v is not None), default)


def _boolean(names: tuple[str, ...], text: str, otherwise: bool | None) -> bool | None:
    lowered = text.strip().lower()
    if lowered in _TRUE:
        return True
    if text and lowered not in _FALSE:
        raise HostError("inventory", f"{names[0]}={excerpt(text, 40)} is neither yes nor no")
    return False if text else otherwise


def _number(names: tuple[str, ...], text: str, largest: int) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= largest:
        raise HostError("inventory", f"{names[0]}={excerpt(text, 40)} is not a number from 1 to {largest}")
    return int(text)


def _interpreter(text: str) -> tuple[str, ...]:
    """Split the interpreter's command; ``auto``, ``auto_silent`` and their legacy forms mean to look for one."""
    if not text or text.startswith("auto"):
        return ()
    try:
        words = sshargs.split(text)
    except ValueError:
        words = ("'",)
    if not words or not all(_SAFE_WORD.match(w) for w in words):
        raise HostError("inventory", f"ansible_python_interpreter={excerpt(text, 80)} is not a command's path")
    return words
