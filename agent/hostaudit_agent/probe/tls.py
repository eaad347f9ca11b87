"""What a server shows in a TLS handshake: versions, the certificates that it sends, and whether they lead to a root.

No certificate is fetched from anywhere: a chain that the server does not send whole is incomplete, although browsers
mend it. Python 3.9 does not tell how many certificates were sent; whether they lead to a root is told by OpenSSL.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Any

from hostaudit_agent.probe import der
from hostaudit_agent.records import dataclass, field

VERSIONS = (("TLSv1.2", ssl.TLSVersion.TLSv1_2), ("TLSv1.3", ssl.TLSVersion.TLSv1_3))
MOST_NAMES = 100


@dataclass
class Shown:
    """What one server showed."""

    address: str
    port: int
    name: str
    """The name that was asked for (SNI); empty: none."""
    versions: list[str] = field(default_factory=list)
    sent: list[der.Certificate] = field(default_factory=list)
    """The certificates, the leaf first; the leaf alone where ``counted`` is false."""
    counted: bool = False
    verify_code: int = -1
    """OpenSSL's (X509_V_ERR_...): 0 trusted, 10 expired, 18 self-signed, 19 root unknown, 20 and 21 issuer missing."""
    verify_message: str = ""
    error: str = ""
    """Why there was no handshake."""


def perform(task: dict[str, Any]) -> list[Shown]:
    """Look at each of ``targets``: ``address``, ``port``, ``name``; roots from ``ca_file`` beside the system's."""
    timeout, roots = float(task.get("timeout", 5)), str(task.get("ca", ""))
    return [look(t["address"], t["port"], t.get("name", ""), timeout, roots) for t in task["targets"]]


def look(address: str, port: int, name: str, timeout: float, roots: str = "") -> Shown:
    """Look at one server; ``roots`` are further roots to trust, as PEM text."""
    shown = Shown(address, port, name)
    problems = []
    for label, version in VERSIONS:
        context = _context()
        context.minimum_version = context.maximum_version = version
        try:
            with _connected(context, shown, timeout) as sock:
                shown.versions.append(label)
                if not shown.sent:
                    _certificates(sock, shown)
        except (OSError, ValueError) as problem:
            problems.append(_why(problem))
    if not shown.versions:
        shown.error = problems[0]
        return shown
    context = ssl.create_default_context()
    context.check_hostname = False  # the name is judged by itself
    if roots:
        context.load_verify_locations(cadata=roots)
    try:
        with _connected(context, shown, timeout):
            shown.verify_code = 0
    except ssl.SSLCertVerificationError as problem:
        shown.verify_code, shown.verify_message = problem.verify_code, problem.verify_message
    except OSError as problem:
        shown.verify_message = _why(problem)
    return shown


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _connected(context: ssl.SSLContext, shown: Shown, timeout: float) -> ssl.SSLSocket:
    plain = socket.create_connection((shown.address, shown.port), timeout)
    try:
        return context.wrap_socket(plain, server_hostname=shown.name or None)
    except BaseException:
        plain.close()
        raise


def _certificates(sock: ssl.SSLSocket, shown: Shown) -> None:
    chain: list[bytes] = []
    with suppress(AttributeError):
        inner: Any = sock._sslobj  # type: ignore[attr-defined]  # noqa: SLF001 - public since Python 3.13 only
        chain = [bytes(one.public_bytes(2)) for one in inner.get_unverified_chain() or ()]  # 2: ENCODING_DER
    shown.counted = bool(chain)
    leaf = sock.getpeercert(binary_form=True)
    for data in chain or ([leaf] if leaf else []):
        found = der.parse(data)
        found.names = found.names[:MOST_NAMES]
        shown.sent.append(found)


def _why(problem: Exception) -> str:
    if isinstance(problem, ssl.SSLError):
        return (problem.reason or str(problem)).replace("_", " ").lower()
    if isinstance(problem, socket.timeout):
        return "no answer in time"
    return getattr(problem, "strerror", None) or str(problem)
