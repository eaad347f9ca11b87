"""Connections over ssh: fabric on paramiko, with strict host keys, through jump hosts, each step bounded.

What makes it cheap: known_hosts is read once per run, every private key is loaded once, small packets do not wait for
each other (TCP_NODELAY, TCP_QUICKACK), and hosts behind one jump host share the connection to it.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import paramiko

from hostaudit import delivery
from hostaudit.failures import HostError, excerpt
from hostaudit.ssh import dial, hostkeys, wire
from hostaudit.ssh.credentials import Keyring, Offer
from hostaudit.ssh.knownhosts import KnownHosts
from hostaudit.ssh.pipe import SshPipe

if TYPE_CHECKING:
    from hostaudit.attempt import Attempt
    from hostaudit.ssh.route import Hop, Route

# paramiko logs a traceback for every host that hangs up; what happened is told in the host's reason.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False


PROXY_PACE = 0.05
"""Seconds between the starts of two ProxyCommands: as a rule all log in to one server, whose sshd refuses some from ten
on that have not logged in yet (sshd_config(5), MaxStartups 10:30:100). A ProxyJump is logged in to once."""


class Connector:
    """Makes connections for one run. Threads share it."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        """Seconds for each of: name and TCP, ssh's greeting and key exchange, login."""
        self._keyring = Keyring()
        self._known = lru_cache(maxsize=256)(KnownHosts)
        self._known_lock = threading.Lock()
        self._config = wire.configuration()
        self._jumps: dict[tuple[Hop, ...], _Jump] = {}
        self._lock = threading.Lock()
        self._next_proxy = 0.0

    def connect(self, route: Route, attempt: Attempt) -> wire.Connection:
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

    def _hop(self, hop: Hop, gateway: wire.Connection | None, attempt: Attempt) -> wire.Connection:
        """Connect to one server, over a jump host's connection where there is one, and log in."""
        with self._known_lock:
            known = self._known(hop.known_hosts)
        types = hostkeys.preferred(known, hop)
        try:
            return self._login(hop, gateway, attempt, known, types)
        except HostError as refusal:
            # Hashed names do not tell their keys' types beforehand; now that they were searched, they may.
            better = hostkeys.preferred(known, hop)
            if refusal.kind != "host-key" or better == types:
                raise
            return self._login(hop, gateway, attempt, known, better)

    def _login(
        self, hop: Hop, gateway: wire.Connection | None, attempt: Attempt, known: KnownHosts, types: list[str]
    ) -> wire.Connection:
        """Connect once, and ask for host keys of these types first. Raises HostError."""
        timeout = hop.timeout or self.timeout
        if gateway is not None:
            sock = self._tunnel(hop, gateway, attempt, timeout)
        elif hop.proxy_command:
            self._wait_for_proxy()
            sock = dial.proxy(hop, attempt)
        else:
            sock = dial.direct(hop, attempt, timeout)
        transport = wire.Transport(sock)
        transport.banner_timeout = transport.auth_timeout = transport.channel_timeout = timeout + 5
        transport.ask_for(types)
        attempt.hold(transport.end)
        attempt.enter(
            timeout,
            f"{hop.where} accepts connections but does not greet as an SSH server within {timeout:g} s; "
            f"see whether sshd hangs there (`nc {hop.address} {hop.port}` shows its greeting)",
        )
        try:
            transport.handshake(timeout + 5)
            hostkeys.check(known, hop, transport.get_remote_server_key())
            _TimedOffer(hop, self._keyring, attempt, timeout).authenticate(transport)
        except HostError:
            transport.end()
            raise
        except (paramiko.SSHException, OSError, EOFError, ValueError) as problem:
            transport.end()
            raise attempt.late if attempt.expired else _broken(hop, problem, dial.words(sock)) from None
        return wire.Connection(hop, transport, self._config)

    def _wait_for_proxy(self) -> None:
        """Wait for the next start of a ProxyCommand."""
        now = time.monotonic()
        with self._lock:
            start = max(now, self._next_proxy)
            self._next_proxy = start + PROXY_PACE
        time.sleep(start - now)

    @staticmethod
    def _tunnel(hop: Hop, gateway: wire.Connection, attempt: Attempt, timeout: float) -> paramiko.Channel:
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


def deliver(connection: wire.Connection, request: delivery.Request, where: str, until: float) -> delivery.Answer:
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


def close(connection: wire.Connection) -> None:
    """Close a connection at once, whatever state it is in. It never raises."""
    connection.close()
