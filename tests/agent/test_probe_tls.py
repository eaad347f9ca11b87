"""What a TLS server shows, with certificates of a CA that is made here."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from hostaudit.probe import results, say
from hostaudit_agent.probe import der, tls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hostaudit.probed import Tls

NAME = "shop.example"
ISSUER = "authorityInfoAccess=caIssuers;URI:http://ca.invalid/i.der"


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)


def issue(folder: Path, name: str, by: str, subject: str, extensions: str, *when: str) -> None:
    """Make a key and a certificate ``name``.pem, signed by ``by`` (itself where it is the same)."""
    (folder / f"{name}.ext").write_text(extensions)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")
    openssl(folder, "req", "-new", *key, "-subj", f"/CN={subject}", "-out", f"{name}.csr")
    sign = ("-signkey", f"{name}.key") if by == name else ("-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial")
    days = when or ("-days", "60")
    openssl(
        folder, "x509", "-req", "-in", f"{name}.csr", *sign, *days, "-extfile", f"{name}.ext", "-out", f"{name}.pem"
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    authority = "basicConstraints=critical,CA:true\n"
    leaf = f"subjectAltName=DNS:{NAME},DNS:*.apps.example,IP:127.0.0.1\n"
    issue(folder, "root", "root", "Test Root", authority)
    issue(folder, "middle", "root", "Test Intermediate", authority)
    issue(folder, "leaf", "middle", NAME, leaf + ISSUER)
    issue(folder, "plain", "root", NAME, leaf)
    issue(folder, "expired", "middle", NAME, leaf + ISSUER, "-days", "-1")
    issue(folder, "default", "default", "TRAEFIK DEFAULT CERT", "subjectAltName=DNS:x.traefik.default\n")
    return folder


@contextlib.contextmanager
def serving(folder: Path, *chain: str, only: ssl.TLSVersion | None = None) -> Iterator[int]:
    (folder / "chain.pem").write_text("".join((folder / f"{name}.pem").read_text() for name in chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / f"{chain[0]}.key")
    if only:
        context.minimum_version = context.maximum_version = only
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as s:
                    s.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def judged(folder: Path, port: int, name: str = NAME, *, trusted: bool = True) -> Tls:
    roots = (folder / "root.pem").read_text() if trusted else ""
    (shown,) = tls.perform(
        {"targets": [{"address": "127.0.0.1", "port": port, "name": name}], "ca": roots, "timeout": 10}
    )
    return results.tls("here", f"{name}:{port}", shown, datetime.now(UTC))


def test_a_whole_chain_is_in_order(certificates: Path) -> None:
    with serving(certificates, "leaf", "middle") as port:
        found = judged(certificates, port)
    assert (found.chain, found.matches, found.default, found.certificates) == ("complete", True, False, 2)
    assert (found.subject, found.issuer, found.versions) == (NAME, "Test Intermediate", ("TLSv1.2", "TLSv1.3"))
    assert found.days is not None
    assert 59 < found.days < 60.1
    assert say.tls(found)[0] is True


def test_a_missing_intermediate_is_named(certificates: Path) -> None:
    with serving(certificates, "leaf") as port:
        for trusted in (True, False):
            found = judged(certificates, port, trusted=trusted)
            assert (found.chain, found.certificates) == ("incomplete", 1)
    fine, lines = say.tls(found)
    assert not fine
    assert "INCOMPLETE CHAIN: 1 certificate sent, the issuer 'Test Intermediate' is not among them" in lines


def test_the_root_in_the_chain_does_not_replace_the_intermediate(certificates: Path) -> None:
    with serving(certificates, "leaf", "root") as port:
        assert judged(certificates, port).chain == "incomplete"


def test_a_private_root_is_no_incomplete_chain(certificates: Path) -> None:
    with serving(certificates, "plain") as port:
        assert judged(certificates, port, trusted=False).chain == "unknown-issuer"
        assert judged(certificates, port).chain == "complete"
    with serving(certificates, "leaf", "middle") as port:
        assert judged(certificates, port, trusted=False).chain == "unknown-issuer"


def test_an_expired_certificate(certificates: Path) -> None:
    with serving(certificates, "expired", "middle") as port:
        found = judged(certificates, port)
    assert found.days is not None
    assert found.days < 0
    assert found.chain == "complete"
    assert any("EXPIRED" in line for line in say.tls(found)[1])


def test_a_default_certificate(certificates: Path) -> None:
    with serving(certificates, "default") as port:
        found = judged(certificates, port)
    assert (found.default, found.matches, found.chain) == (True, False, "self-signed")
    assert "DEFAULT CERTIFICATE" in say.tls(found)[1][1]


@pytest.mark.parametrize(
    ("name", "matches"),
    [("a.apps.example", True), ("a.b.apps.example", False), ("apps.example", False), ("SHOP.example", True)],
)
def test_names_are_compared_as_clients_do(certificates: Path, name: str, *, matches: bool) -> None:
    with serving(certificates, "leaf", "middle") as port:
        assert judged(certificates, port, name).matches is matches


def test_versions_that_the_server_refuses_are_not_listed(certificates: Path) -> None:
    with serving(certificates, "leaf", "middle", only=ssl.TLSVersion.TLSv1_3) as port:
        assert judged(certificates, port).versions == ("TLSv1.3",)


def test_what_speaks_no_tls_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def rude() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                connection.sendall(b"220 ready\r\n")
                connection.close()

        threading.Thread(target=rude, daemon=True).start()
        shown = tls.look("127.0.0.1", port, "", 5)
    assert shown.error
    assert shown.versions == []


def test_what_is_no_certificate_is_refused(certificates: Path) -> None:
    data = ssl.PEM_cert_to_DER_cert((certificates / "leaf.pem").read_text())
    found = der.parse(data)
    assert found.names == [NAME, "*.apps.example", "127.0.0.1"]
    assert found.says_issuer
    for cut in range(0, len(data) - 1, 7):
        with pytest.raises(ValueError, match="not a certificate"):
            der.parse(data[:cut])
