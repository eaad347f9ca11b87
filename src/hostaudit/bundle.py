"""The agent as one file: a zipapp of the installed package ``hostaudit_agent``, the same bytes every time.

Names are sorted and time stamps fixed, so the same sources give the same hash and a host that holds a copy need not
be sent another. Only Python sources go in: byte code would fit one Python version of the many on the nodes.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.resources.abc import Traversable

PACKAGE = "hostaudit_agent"
SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = b"""\
import gc
import sys
from zipimport import zipimporter

HOSTAUDIT_BUNDLE = True


class Importer(zipimporter):
    def get_filename(self, fullname):
        inside = "/__init__.py" if self.is_package(fullname) else ".py"
        return self.archive + "/" + self.prefix + fullname.rpartition(".")[2] + inside


sys.path_hooks[:] = [Importer if hook is zipimporter else hook for hook in sys.path_hooks]
sys.path_importer_cache.pop(sys.path[0], None)
gc.set_threshold(20000)
if sys.argv[1:2] == ["ring"]:  # once a minute, for ever: without what a whole reading needs
    from hostaudit_agent.ring import main

    sys.exit(main(sys.argv[2:]))
from hostaudit_agent.__main__ import run

run()
"""
"""zipimport compiles every module twice, the first time only to learn the name of its file (zipimport.py,
get_filename); not to do so spares a quarter of the agent's time. Rounds of the garbage collector, over what was just
compiled, cost another thirtieth: they come after 20,000 new objects, not after 700. ``HOSTAUDIT_BUNDLE`` chooses the
smaller dataclasses (``hostaudit_agent.records``)."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can name."""


def build() -> bytes:
    """Return the zipapp; ``python3 FILE`` runs it."""
    out = io.BytesIO(SHEBANG)
    out.seek(0, io.SEEK_END)
    sources = {"__main__.py": MAIN, **dict(_sources(files(PACKAGE), PACKAGE))}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, source in sorted(sources.items()):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever the controller runs
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, source)
    return out.getvalue()


def digest(bundle: bytes) -> str:
    """Return the SHA-256 of a bundle in hexadecimal: the name under which a host may keep it."""
    return hashlib.sha256(bundle).hexdigest()


def _sources(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for item in folder.iterdir():
        path = f"{name}/{item.name}"
        if item.is_dir():
            yield from _sources(item, path)
        elif item.name.endswith(".py"):
            yield path, item.read_bytes()


def main(arguments: Sequence[str]) -> None:
    """Write the bundle to the file named, for ``make agent``."""
    if len(arguments) != 1:
        sys.exit("usage: python -m hostaudit.bundle FILE")
    bundle = build()
    path = Path(arguments[0])
    path.write_bytes(bundle)
    path.chmod(0o755)
    print(f"{path}: {len(bundle)} bytes, sha256 {digest(bundle)}")  # noqa: T201 - this is the command's output


if __name__ == "__main__":
    main(sys.argv[1:])
