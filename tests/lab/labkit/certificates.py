"""Certificates of an authority that is made for a test, and the server that shows them, one for each name."""

import subprocess
from pathlib import Path

AUTHORITY = "basicConstraints=critical,CA:true\n"
ISSUER = "authorityInfoAccess=caIssuers;URI:http://ca.invalid/i.der\n"
SERVER = """
import socket, ssl, sys, threading

def context(name):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(f"/srv/{name}.pem")
    return made

def chosen(sock, name, _):
    sock.context = contexts.get(name, contexts["default"])

def serve(plain):
    try:
        with contexts["default"].wrap_socket(plain, server_side=True) as sock:
            sock.recv(1)
    except OSError:  # a handshake of TCP only
        plain.close()

contexts = {name: context(name) for name in sys.argv[1:]}
contexts["default"].sni_callback = chosen
with socket.create_server(("0.0.0.0", 443), backlog=128) as listener:
    print("listening", flush=True)
    while True:
        threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
"""
"""A proxy: a certificate for each name of its arguments, and ``default`` for any other name."""


class Authority:
    """A root, and the intermediate that signs the certificates of servers."""

    def __init__(self, folder: Path) -> None:
        """Make both."""
        self.folder = folder
        self.issue("root", "Lab Root", AUTHORITY, by="root")
        self.issue("middle", "Lab Intermediate", AUTHORITY, by="root")

    @property
    def root(self) -> str:
        """The root as PEM text."""
        return (self.folder / "root.pem").read_text()

    def server(self, name: str, days: int = 60, *, whole: bool = True) -> str:
        """Return key and chain for a name as PEM text; without the intermediate where it is not ``whole``."""
        self.issue("leaf", name, f"subjectAltName=DNS:{name}\n{ISSUER}", days=days)
        return self._pem("leaf.key", "leaf.pem", *(["middle.pem"] if whole else []))

    def own(self, subject: str) -> str:
        """Return key and certificate that a proxy made for itself."""
        self.issue("own", subject, "subjectAltName=DNS:proxy.internal\n", by="own")
        return self._pem("own.key", "own.pem")

    def issue(self, file: str, subject: str, extensions: str, days: int = 60, by: str = "middle") -> None:
        """Make FILE.key and FILE.pem, signed by another one (by itself where it is the same)."""
        (self.folder / f"{file}.ext").write_text(extensions)
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{file}.key")
        self._openssl("req", "-new", *key, "-subj", f"/CN={subject}", "-out", f"{file}.csr")
        sign = ("-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial")
        sign = ("-signkey", f"{by}.key") if by == file else sign
        to = ("-days", str(days), "-extfile", f"{file}.ext", "-out", f"{file}.pem")
        self._openssl("x509", "-req", "-in", f"{file}.csr", *sign, *to)

    def _pem(self, *files: str) -> str:
        return "".join((self.folder / file).read_text() for file in files)

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True, timeout=60)
