"""Makes the copy of the agent that the timer starts: what a tick needs, with byte code, for it takes less CPU time."""
# ruff: noqa: INP001 - a file of a role, which is sent as text

# Usage: python3 -c TEXT SOURCE TARGET [check]. Prints "changed" where TARGET is not what SOURCE gives with this Python,
# and writes it then; with "check" it only prints. After an upgrade of Python its byte code is passed over, and the
# sources beside it are used, until the role runs again.

import hashlib
import marshal
import sys
import zipfile
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path

WHEN = (1980, 1, 1, 0, 0, 0)
NOT_NEEDED = ("capture", "probe", "proxmox", "traces")


def label(source: Path) -> bytes:
    """Return what the target must be labelled with: this source, this Python, this program."""
    return f"{hashlib.sha256(source.read_bytes()).hexdigest()} {MAGIC_NUMBER.hex()} 1".encode()


def found(target: Path) -> bytes:
    """Return what the target is labelled with; empty where it is none, or damaged."""
    try:
        with zipfile.ZipFile(target) as archive:
            return b"" if archive.testzip() else archive.comment
    except (OSError, zipfile.BadZipFile):
        return b""


def write(source: Path, target: Path, comment: bytes) -> None:
    """Write the target."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        new.comment = comment
        for name in sorted(old.namelist()):
            if name.split("/")[1:2] and name.split("/")[1] in NOT_NEEDED:
                continue
            text = old.read(name)
            code = compile(text, f"hostaudit-agent/{name}", "exec", dont_inherit=True, optimize=2)
            # flags 1: valid by a hash that nobody compares (PEP 552)
            head = MAGIC_NUMBER + (1).to_bytes(4, "little") + source_hash(text)
            for file, data in ((name, text), (name + "c", head + marshal.dumps(code))):
                new.writestr(zipfile.ZipInfo(file, WHEN), data)


def main(source: str, target: str, check: str = "") -> None:
    """Compare, and write."""
    try:
        wanted = label(Path(source))
    except FileNotFoundError:  # check mode, before the first installation
        wanted = b""
    if wanted and found(Path(target)) == wanted:
        return
    print("changed")  # noqa: T201 - the role reads it
    if not check:
        new = Path(target + ".new")
        write(Path(source), new, wanted)
        new.chmod(0o644)
        new.replace(target)


main(*sys.argv[1:])
