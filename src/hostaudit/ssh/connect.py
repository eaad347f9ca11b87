"""Connections over ssh: fabric on paramiko, with strict host keys, through jump hosts, each step bounded.

What makes it cheap: known_hosts is read once per run, every private key is loaded once, small packets do not wait for
each other (TCP_NODELAY, TCP_QUICKACK), and hosts behind one jump host share the connection to it.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import fabric
import paramiko

from hostaudit import delivery
from hostaudit.failures import HostError, excerpt
from hostaudit.ssh import dial, hostkeys
from hostaudit.ssh.credentials import Keyring, Offer
from hostaudit.ssh.knownhosts import KnownHosts
from hostaudit.ssh.pipe import SshPipe

if TYPE_CHECKING:
    from hostaudit.attempt import Attempt
    from hostaudit.ssh.route import Hop, Route

# paramiko logs a traceback for every host that hangs up; what happened is told in the host's reason.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False


class _Transport(paramiko.Transport):  # type: ignore[misc] # no type information upstream
    """A transport that wakes up when something happens, not ten times a second for every host."""

    _active_check_timeout = 5.0


class Connector:
    """Makes connections for one run. Threads share it."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        """Seconds for each of: name and TCP, ssh's greeting and key exchange, login."""
        self._keyring = Keyring()
        self._known = lru_cache(maxsize=256)(KnownHosts)
        self._known_lock = threading.Lock()
        self._jumps: dict[tuple[Hop, ...], _Jump] = {}
        self._lock = threading.Lock()

    def connect(self, route: Route, attempt: Attempt) -> fabric.Connection:
        """Return an open connection to the last hop. Raises HostError."""
        *before, last = route.hops
        gateway = self._through(tuple(before), attempt) if before else None
        return self._hop(last, gateway, attempt)

    def close(self) -> None:
        """Close the connections to jump hosts."""
        with self._lock:
            jumps, self._jumps = list(self._jumps.values()), {}
        for jump in jumps:
            if jump.connection is not None:
                close(jump.connection)

    def _through(self, hops: tuple[Hop, ...], attempt: Attempt) -> Any:
        """Return the shared connection to the last of these jump hosts; the first that comes makes it."""
        with self._lock:
            jump = self._jumps.setdefault(hops, _Jump())
        where = hops[-1].where
        wait = 4 * (hops[-1].timeout or self.timeout) * len(hops)
        attempt.enter(wait, f"jump host {where} was not reached within {wait:g} s")
        if not jump.lock.acquire(timeout=wait):
            raise attempt.late
        try:
            if jump.failure:
                raise jump.failure
            if jump.connection is None or not jump.connection.is_connected:
                gateway = self._through(hops[:-1], attempt) if hops[:-1] else None
                jump.connection = self._hop(hops[-1], gateway, attempt)
                attempt.release()  # others use it from now on: the end of this host's turn is not its end
        except HostError as failure:
            if jump.failure is None:
                late = attempt.late if attempt.expired else failure
                jump.failure = HostError(late.kind, f"jump host: {late.reason.removeprefix('jump host: ')}")
            raise jump.failure from None
        finally:
            jump.lock.release()
        return jump.connection

    def _hop(self, hop: Hop, gateway: fabric.Connection | None, attempt: Attempt) -> fabric.Connection:
        """Connect to one server, over a jump host's connection where there is one, and log in."""
        timeout = hop.timeout or self.timeout
        if gateway is not None:
            sock = self._tunnel(hop, gateway, attempt, timeout)
        elif hop.proxy_command:
            sock = dial.proxy(hop, attempt)
        else:
            sock = dial.direct(hop, attempt, timeout)
        with self._known_lock:
            known = self._known(hop.known_hosts)
        offer = _TimedOffer(hop, self._keyring, attempt, timeout)
        connection = fabric.Connection(
            hop.address,
            user=hop.identity.user,
            port=hop.port,
            # Not lazy would read ~/.fabric.py; a shared one is not made for threads.
            config=fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig(), overrides={"load_ssh_configs": False}),
            connect_kwargs={
                "sock": sock,
                "transport_factory": _factory(hostkeys.preferred(known, hop), attempt),
                "auth_strategy": offer,
                "banner_timeout": timeout + 5,
                "auth_timeout": timeout + 5,
                "channel_timeout": timeout + 5,
            },
        )
        connection.client = paramiko.SSHClient()
        connection.client.set_missing_host_key_policy(hostkeys.Check(known, hop))
        attempt.enter(
            timeout,
            f"{hop.where} accepts connections but does not greet as an SSH server within {timeout:g} s; "
            f"see whether sshd hangs there (`nc {hop.address} {hop.port}` shows its greeting)",
        )
        try:
            connection.open()
        except HostError:
            close(connection)
            raise
        except (paramiko.SSHException, OSError, EOFError, ValueError) as problem:
            close(connection)
            raise attempt.late if attempt.expired else _broken(hop, problem, dial.words(sock)) from None
        return connection

    @staticmethod
    def _tunnel(hop: Hop, gateway: fabric.Connection, attempt: Attempt, timeout: float) -> paramiko.Channel:
        """Ask a jump host for a connection to the next hop."""
        attempt.enter(timeout, f"the jump host had no connection to {hop.where} after {timeout:g} s; is that host up?")
        try:
            channel = gateway.transport.open_channel(
                "direct-tcpip", (hop.address, hop.port), ("", 0), timeout=timeout + 5
            )
        except paramiko.ChannelException as refused:
            raise HostError(
                "connect",
                f"the jump host cannot connect to {hop.where}: {excerpt(str(refused.text), 100)}; "
                f"check the address, and AllowTcpForwarding on the jump host",
            ) from None
        except (paramiko.SSHException, OSError, EOFError) as problem:
            raise attempt.late if attempt.expired else _broken(hop, problem) from None
        attempt.hold(channel.close)
        return channel


class _Jump:
    """The connection to a jump host that many hosts share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: Any = None
        self.failure: HostError | None = None


class _TimedOffer(Offer):
    """A login with a deadline of its own."""

    def __init__(self, hop: Hop, keyring: Keyring, attempt: Attempt, timeout: float) -> None:
        super().__init__(hop.identity, keyring, hop.where)
        self._attempt = attempt
        self._timeout = timeout
        self._hop = hop

    def authenticate(self, transport: paramiko.Transport) -> paramiko.auth_strategy.AuthResult:
        self._attempt.enter(
            self._timeout,
            f"{self._hop.where} did not finish the login of {self.identity.user!r} within {self._timeout:g} s; "
            f"see its auth log (slow DNS with UseDNS, or PAM)",
        )
        return super().authenticate(transport)


def _factory(key_types: list[str], attempt: Attempt) -> Any:
    """Return what makes a transport that asks for these host key types first."""

    def make(sock: Any, disabled_algorithms: Any = None) -> paramiko.Transport:
        transport = _Transport(sock, disabled_algorithms=disabled_algorithms)
        transport.daemon = True
        options = transport.get_security_options()
        options.key_types = [t for t in key_types if t in options.key_types] + [
            t for t in options.key_types if t not in key_types
        ]
        attempt.hold(lambda: _end(transport))
        return transport

    return make


def _broken(hop: Hop, problem: BaseException, proxy: str = "") -> HostError:
    """Say why ssh's own handshake failed; ``proxy`` is what a ProxyCommand said."""
    if proxy:
        return HostError("connect", f"the ProxyCommand to {hop.where} failed; it said: {proxy!r}")
    text = excerpt(str(problem), 160)
    if isinstance(problem, paramiko.IncompatiblePeer):
        return HostError(
            "connect", f"{hop.where} and this program have no algorithm in common: {text}; compare with `ssh -vv`"
        )
    if "protocol banner" in text or "Indecipherable" in text:
        return HostError(
            "connect",
            f"{hop.where} answers, but not as an SSH server ({text}); check ansible_port, and MaxStartups of its sshd",
        )
    return HostError(
        "connect",
        f"{hop.where} ended the connection during ssh's handshake ({text or type(problem).__name__}); "
        f"check MaxStartups, hosts.deny or fail2ban there",
    )


def deliver(connection: fabric.Connection, request: delivery.Request, where: str, until: float) -> delivery.Answer:
    """Run the agent on an open connection. Raises HostError."""
    try:
        pipe = SshPipe(connection, request.command, until - time.monotonic())
    except (paramiko.SSHException, OSError, EOFError) as problem:
        raise HostError(
            "output",
            f"{where} took the login but runs no command ({excerpt(str(problem), 100) or type(problem).__name__}); "
            f"check the user's shell, ForceCommand and MaxSessions there",
        ) from None
    return delivery.run(pipe, request, where, until)


def close(connection: fabric.Connection) -> None:
    """Close a connection at once, whatever state it is in. It never raises."""
    transport = connection.client.get_transport() if connection.client else None
    if transport is not None:
        _end(transport)
    elif "sock" in connection.connect_kwargs:
        connection.connect_kwargs["sock"].close()


def _end(transport: paramiko.Transport) -> None:
    """End a transport without waiting for its thread: shutdown wakes it, close alone would leave it in recv."""
    try:
        transport.sock.shutdown(socket.SHUT_RDWR) if isinstance(transport.sock, socket.socket) else None
        transport.close()
        transport.sock.close()
    except (OSError, EOFError, paramiko.SSHException):
        return
