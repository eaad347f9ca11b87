"""hostaudit with its agent delivered in one of several ways: ``own_delivery.py FLEET COUNT FORKS OUTPUT WAY``.

``own_delivery.py FLEET WAY`` prepares what is sent then, which is no part of what is measured. What is not the
product's way is emulated by an agent that fetches the real one: it costs the host a little more.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from own_facts import hosts_of

from hostaudit.bundle import build
from hostaudit.collect import CollectOptions, collect
from hostaudit.model import Unreachable

PYTHON = "/usr/bin/python3"
RUN = """
import os, sys, zipimport
fd = os.memfd_create("agent")
os.write(fd, data)
sys.path[0] = sys.argv[0] = f"/proc/self/fd/{fd}"
exec(zipimport.zipimporter(sys.path[0]).get_code("__main__"), sys.modules["__main__"].__dict__)
"""
COPY = """
import hashlib, os
fd = os.open({path!r}, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
status = os.fstat(fd)
assert status.st_uid == os.geteuid() and not status.st_mode & 0o22
data = b"".join(iter(lambda: os.read(fd, 1 << 20), b""))
assert hashlib.sha256(data).hexdigest() == {digest!r}
"""


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip application."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def contents(bundle: bytes) -> dict[str, bytes]:
    """Return the files of a bundle."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def compiled(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return byte code for the hosts' Python, without docstrings."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        subprocess.run([PYTHON, "-I", "-OO", "-m", "compileall", "-q", "-b", folder], check=True)
        return {name + "c": Path(folder, name + "c").read_bytes() for name in files}


def agent(way: str, folder: str) -> bytes:
    """Return what is streamed."""
    whole = build()
    if way == "streamed":
        return whole
    if way == "in one stream":
        packed = zlib.compress(zipped(contents(whole), zipfile.ZIP_STORED), 9)
        main = b"import zlib, zipimport, sys\n"
        main += b'data = zlib.decompress(zipimport.zipimporter(sys.path[0]).get_data("agent"))\n' + RUN.encode()
        return zipped({"__main__.py": main, "agent": packed}, zipfile.ZIP_STORED)
    if way == "byte code":
        return zipped(compiled(contents(whole)))
    if way == "byte code, copy":
        whole = zipped(compiled(contents(whole)))
    path = Path(folder, f"{way}.pyz")
    path.write_bytes(whole)
    path.chmod(0o600)
    main = COPY.format(path=str(path), digest=hashlib.sha256(whole).hexdigest()) + RUN
    return zipped({"__main__.py": main.encode()})


def main() -> int:
    folder, *rest = sys.argv[1:]
    if len(rest) == 1:
        Path(folder, f"sent {rest[0]}").write_bytes(agent(rest[0], folder))
        return 0
    count, forks, output, way = rest
    options = CollectOptions(forks=int(forks), interval=0, connect_timeout=60, run_timeout=60)
    sent = Path(folder, f"sent {way}").read_bytes()
    results = collect(hosts_of(folder, int(count)), sent, options)
    good = [r for r in results if not isinstance(r, Unreachable)]
    for r in results:
        if isinstance(r, Unreachable):
            print(r.reason, file=sys.stderr)
    own = sorted(r.snapshot.cpu_ms for r in good)
    lines = [{"address": r.host.name, "bytes": len(sent), "agent_ms": own[len(own) // 2]} for r in good]
    Path(output).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
