"""paramiko's transport and fabric's connection without what a fleet pays for and does not need.

Per host, on a controller that reads a thousand: a thread that only waits to say that the handshake was slow (the
deadline of the host's turn says so), a wake-up every 0.1 s in every wait, two system calls for each packet, a merge of
configuration files that are not read (0.4 ms). What is spoken on the wire is paramiko's.
"""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import fabric
import paramiko

if TYPE_CHECKING:
    from hostaudit.ssh.route import Hop

_PATIENCE = 2.0
"""Seconds between looks at whether a transport that says nothing is still alive; its end wakes whoever waits."""


class _Patient(threading.Event):
    """An event whose short waits are long ones: paramiko asks ten times a second."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the event, and no shorter than ``_PATIENCE``."""
        return super().wait(None if timeout is None else max(timeout, _PATIENCE))


class _Packetizer(paramiko.packet.Packetizer):  # type: ignore[misc] # no type information upstream
    """Packets without a timer thread per handshake."""

    def start_handshake(self, timeout: float) -> None:
        """Start nothing: the turn's deadline closes the socket."""


class Transport(paramiko.Transport):  # type: ignore[misc] # as above
    """A transport that sleeps until something happens."""

    _active_check_timeout = 5.0
    # AEAD first: one call into OpenSSL per packet instead of a cipher and an HMAC made anew in Python for each. Key
    # exchange stays in paramiko's order, which is post-quantum with curve25519 where both sides can, then curve25519.
    _preferred_ciphers = (
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        *(c for c in paramiko.Transport._preferred_ciphers if "gcm" not in c),  # noqa: SLF001 - a subclass's own
    )

    _preferred_keys: tuple[str, ...] = paramiko.Transport._preferred_keys  # noqa: SLF001 - as above

    def __init__(self, sock: Any) -> None:
        super().__init__(sock, packetizer_class=_Packetizer)
        self.daemon = True

    def ask_for(self, types: list[str]) -> None:
        """Prefer these host key algorithms, where they are understood."""
        wanted = [t for t in types if t in self._preferred_keys]
        self._preferred_keys = (*wanted, *(t for t in self._preferred_keys if t not in wanted))

    def _filter_algorithm(self, type_: str) -> tuple[str, ...]:
        """Return the algorithms of a kind. None is disabled, and paramiko asks for each kind of each host."""
        wanted: tuple[str, ...] = getattr(self, f"_preferred_{type_}")
        return wanted

    def handshake(self, seconds: float) -> None:
        """Exchange keys. Raises OSError, EOFError or paramiko.SSHException."""
        done = threading.Event()
        self.start_client(event=done)
        done.wait(seconds)
        if not (done.is_set() and self.active):
            raise self.get_exception() or paramiko.SSHException("Negotiation failed.")

    def auth_publickey(self, username: str, key: Any, event: threading.Event | None = None) -> list[str]:
        """Offer a key, as paramiko does; the wait is ended by the answer, or by the end of the transport."""
        answered = event or _Patient()
        super().auth_publickey(username, key, answered)
        allowed: list[str] = [] if event else self.auth_handler.wait_for_response(answered)
        return allowed

    def session(self, seconds: float) -> paramiko.Channel:
        """Open the channel for one command (RFC 4254, 6.1). Raises EOFError or paramiko.SSHException.

        ``open_session`` of paramiko wakes up ten times a second for as long as the host forks its session.
        """
        if not self.active:
            raise paramiko.SSHException("SSH session not active")
        opened = threading.Event()
        request = paramiko.Message()
        request.add_byte(paramiko.common.cMSG_CHANNEL_OPEN)
        request.add_string("session")
        with self.lock:
            number = self._next_channel()
            channel = paramiko.Channel(number)
            self._channels.put(number, channel)
            self.channel_events[number] = opened
            self.channels_seen[number] = True
            channel._set_transport(self)  # noqa: SLF001 - what paramiko's open_channel does
            channel._set_window(self.default_window_size, self.default_max_packet_size)  # noqa: SLF001 - as above
        for value in (number, self.default_window_size, self.default_max_packet_size):
            request.add_int(value)
        self._send_user_message(request)
        opened.wait(seconds)
        if not (opened.is_set() and self.active and self._channels.get(number) is channel):
            raise self.get_exception() or paramiko.SSHException("Unable to open channel.")
        return channel

    def end(self) -> None:
        """End it without waiting for its thread: shutdown wakes that, close alone would leave it in recv."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR) if isinstance(self.sock, socket.socket) else None
            self.close()
            self.sock.close()
        except (OSError, EOFError, paramiko.SSHException):
            pass
        # One that was closed from outside tells nobody.
        if self.completion_event is not None:
            self.completion_event.set()
        if self.auth_handler is not None:
            self.auth_handler.abort()
        for opened in list(self.channel_events.values()):
            opened.set()

    def _log(self, level: int, msg: object, *args: object) -> None:
        """Say nothing: what happened is told in the host's reason."""


class Connection(fabric.Connection):  # type: ignore[misc] # no type information upstream
    """A connection of fabric over a transport that is there already; it takes over the handshake from its maker.

    ``fabric.Connection.__init__`` clones and merges a configuration for every host, to find out what ``hop`` says.
    """

    def __init__(self, hop: Hop, transport: Transport, config: fabric.Config) -> None:
        """Share ``config``, which nothing here changes."""
        self._set(
            _config=config,
            command_prefixes=[],
            command_cwds=[],
            ssh_config={},
            original_host=hop.address,
            host=hop.address,
            user=hop.identity.user,
            port=hop.port,
            gateway=None,
            forward_agent=False,
            connect_timeout=None,
            connect_kwargs={},
            client=paramiko.SSHClient(),
            transport=transport,
            inline_ssh_env=True,
        )

    def close(self) -> None:
        """Close it at once, whatever state it is in. It never raises."""
        self.transport.end()


def configuration() -> fabric.Config:
    """Return what all connections of a run share; neither ~/.fabric.py nor ssh_config is read for it."""
    return fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig(), overrides={"load_ssh_configs": False})
