"""Who one is towards a host: private keys, the ssh agent and passwords, in the order in which they are offered."""

from __future__ import annotations

import base64
import binascii
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import paramiko

from hostaudit.failures import HostError, excerpt
from hostaudit.ssh.knownhosts import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DEFAULT_FILES = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
"""What ssh(1) offers by itself; the kinds with a security token need the agent."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What one private key file gave: the key, or why not and, where it can be told, its public half."""

    path: str
    key: Any = None
    trouble: str = ""
    public: bytes = b""


class Keyring:
    """Private key files, each read once for a whole run and shared by all connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, KeyFile] = {}

    def file(self, path: str) -> KeyFile:
        """Return what the file gave; it never fails."""
        with self._lock:
            if path not in self._files:
                self._files[path] = _read(path)
            return self._files[path]


def _read(path: str) -> KeyFile:
    full = Path(path).expanduser()
    public = _public_half(full)
    try:
        return KeyFile(path, key=paramiko.PKey.from_path(str(full)))
    except (FileNotFoundError, NotADirectoryError):
        return KeyFile(path, trouble="there is no such file", public=public)
    except OSError as problem:
        return KeyFile(path, trouble=str(problem.strerror), public=public)
    except Exception as problem:  # noqa: BLE001 - every backend of a key format has exceptions of its own
        if isinstance(problem, paramiko.PasswordRequiredException) or "password" in str(problem).lower():
            return KeyFile(
                path, trouble="it is protected by a passphrase; add it to the agent with ssh-add", public=public
            )
        return KeyFile(path, trouble=f"not a private key that can be used ({excerpt(str(problem), 80)})", public=public)


def _public_half(path: Path) -> bytes:
    """Return the public key beside a private one (``.pub``), or the file itself where it is a public key."""
    for name in (path, path.with_name(path.name + ".pub")):
        with suppress(OSError, IndexError, binascii.Error, UnicodeDecodeError):
            words = name.read_text().split()
            if words[0].startswith(("ssh-", "ecdsa-", "sk-")):
                return base64.b64decode(words[1])
    return b""


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything that may be offered to one host for one user."""

    user: str
    explicit: tuple[str, ...] = ()
    """Key files named by the inventory or the command line: then nothing else is looked for."""
    configured: tuple[str, ...] = ()
    """IdentityFile of ssh_config: offered before the agent's other keys."""
    identities_only: bool = False
    agent: bool = True
    password: str = field(default="", repr=False)


class Offer(paramiko.AuthStrategy):  # type: ignore[misc] # no type information upstream
    """Offers an identity's keys one by one, and remembers what it offered."""

    def __init__(self, identity: Identity, keyring: Keyring, where: str) -> None:
        super().__init__(ssh_config=None)
        self.identity = identity
        self.keyring = keyring
        self.where = where
        self.tried: list[str] = []
        self.troubles: list[str] = []

    def get_sources(self) -> Iterator[paramiko.auth_strategy.AuthSource]:
        """Not used: ``authenticate`` offers what ``_offers`` yields."""
        return iter(())

    def authenticate(self, transport: paramiko.Transport) -> paramiko.auth_strategy.AuthResult:
        """Log in, or raise HostError of kind ``auth`` that says who was refused with what."""
        rest: Sequence[str] = ()
        with _Agent(enabled=self.identity.agent) as agent:
            for label, attempt in self._offers(agent.keys):
                if not transport.is_active():
                    self.troubles.append("the host ended the login after these attempts (MaxAuthTries)")
                    break
                try:
                    rest = attempt(transport)
                except paramiko.BadAuthenticationType as refused:
                    self.tried.append(f"{label} (the host takes {', '.join(refused.allowed_types)})")
                    continue
                except paramiko.AuthenticationException as refused:
                    if "imeout" in str(refused):
                        raise
                    self.tried.append(label)
                    continue
                if not rest:
                    return paramiko.auth_strategy.AuthResult(self)
                self.tried.append(f"{label} (accepted, but the host wants {', '.join(rest)} too)")
        raise HostError("auth", self._reason())

    def _offers(self, agent: Sequence[Any]) -> Iterator[tuple[str, Callable[[Any], Sequence[str]]]]:
        """Yield (what is offered, how), lazily: a key that is accepted keeps the rest untouched."""
        identity = self.identity
        offered: set[bytes] = set()

        def with_key(key: Any) -> Callable[[Any], Sequence[str]]:
            return lambda transport: transport.auth_publickey(identity.user, key) or ()

        files = identity.explicit or identity.configured or DEFAULT_FILES
        use_default = files is DEFAULT_FILES
        first = () if use_default else files
        last = files if use_default else ()
        for path in first:
            yield from self._from_file(path, agent, offered, with_key)
        if not identity.explicit and not identity.identities_only:
            for key in agent:
                if key.asbytes() not in offered:
                    offered.add(key.asbytes())
                    comment = f" {excerpt(key.comment, 40)}" if key.comment else ""
                    yield f"the agent's key{comment} {fingerprint(key.asbytes())}", with_key(key)
        for path in last:
            if Path(path).expanduser().exists():
                yield from self._from_file(path, agent, offered, with_key)
        if identity.password:
            yield "the password", lambda transport: transport.auth_password(identity.user, identity.password) or ()

    def _from_file(
        self,
        path: str,
        agent: Sequence[Any],
        offered: set[bytes],
        with_key: Callable[[Any], Callable[[Any], Sequence[str]]],
    ) -> Iterator[tuple[str, Callable[[Any], Sequence[str]]]]:
        """Yield the file's key; where it is locked, the agent's copy of it."""
        file = self.keyring.file(path)
        key = file.key or next((k for k in agent if file.public and k.asbytes() == file.public), None)
        if key is None:
            self.troubles.append(f"key {path}: {file.trouble}")
        elif key.asbytes() not in offered:
            offered.add(key.asbytes())
            yield f"key {path} {fingerprint(key.asbytes())}", with_key(key)

    def _reason(self) -> str:
        user = self.identity.user
        tried = "; ".join(self.tried)
        troubles = "; ".join(self.troubles)
        if not tried:
            nothing = troubles or "no key file, no key of an agent, no password"
            return (
                f"{self.where}: nothing to log in with as {user!r} ({nothing}); "
                f"give a key with --private-key, or load one with ssh-add"
            )
        return (
            f"{self.where} refuses user {user!r}: tried {tried}{f'; {troubles}' if troubles else ''}; "
            f"set ansible_user or --private-key, or let the host know the key with ssh-copy-id"
        )


class _Agent:
    """The agent's keys for the time of one login; none where there is no agent."""

    def __init__(self, *, enabled: bool) -> None:
        self._agent: Any = None
        self.keys: Sequence[Any] = ()
        if enabled and os.environ.get("SSH_AUTH_SOCK"):
            with suppress(paramiko.SSHException, OSError):
                self._agent = paramiko.Agent()
                self.keys = self._agent.get_keys()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._agent is not None:
            self._agent.close()
