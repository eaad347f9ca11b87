"""/etc/pve of the lab: a FUSE file system with the rules of pmxcfs, and the nodes of one lab are one cluster.

    proxmox_fs.py MOUNTPOINT NODE STORE

One process per node serves MOUNTPOINT from STORE, a directory that all nodes share: what one writes, the others see.
STORE/files is the content, STORE/members/NODE holds the address of each node, and STORE/alone/NODE exists while that
node has no quorum. A store with a single member is a node of its own, which is always quorate.

Sources, in pve-cluster 9.1.6 (src/pmxcfs): pmxcfs.c (modes, owners, which calls are missing), cfs-plug-memdb.c (modes
without quorum), dcdb.c (EACCES without quorum), memdb.c (sizes, renames, locks), status.c (.members, .version,
.vmlist). docs/lab-proxmox.md compares line by line, and says what is not like upstream.
"""

# ruff: noqa: ARG002 - the arguments are those of FUSE's operations

import errno
import json
import os
import stat
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import mfusepy as fuse

WWW_DATA = 33
"""Debian's fixed number of group www-data."""
LIMIT = 1 << 20
"""Bytes of one file (memdb.h)."""
LOCK_TIMEOUT = 120
"""Seconds after which somebody else may break a lock (memdb.c, CFS_LOCK_TIMEOUT)."""
KINDS = {"qemu-server": "qemu", "lxc": "lxc"}


def fail(number: int) -> NoReturn:
    raise fuse.FuseOSError(number)


class Pmxcfs(fuse.Operations):
    """The file system of one node; paths are those below /etc/pve."""

    use_ns = True

    def __init__(self, node: str, store: Path) -> None:
        self.node, self.store, self.files = node, store, store / "files"
        self.links = {"/local": f"nodes/{node}"} | {f"/{k}": f"nodes/{node}/{k}" for k in KINDS}
        self.told = {"/.version": self.version, "/.members": self.members, "/.vmlist": self.vmlist}
        self.started = int(time.time())
        for name in ("firewall", "priv/lock", "virtual-guest", *(f"nodes/{node}/{d}" for d in ("priv", *KINDS))):
            (self.files / name).mkdir(parents=True, exist_ok=True)

    # ---- the cluster

    def nodes(self) -> list[str]:
        return sorted(p.name for p in (self.store / "members").iterdir())

    def quorate(self) -> bool:
        return len(self.nodes()) < 2 or not (self.store / "alone" / self.node).exists()

    def members(self) -> str:
        nodes = self.nodes()
        if len(nodes) < 2:
            return json.dumps({"nodename": self.node, "version": 1}, indent=0) + "\n"
        cluster = {"name": "lab", "version": len(nodes), "nodes": len(nodes), "quorate": int(self.quorate())}
        found = {}
        for number, name in enumerate(nodes, 1):
            online = name == self.node or (self.quorate() and not (self.store / "alone" / name).exists())
            found[name] = {"id": number, "online": int(online), "ip": (self.store / "members" / name).read_text()}
        told = {"nodename": self.node, "version": len(nodes), "cluster": cluster, "nodelist": found}
        return json.dumps(told, indent=1) + "\n"

    def version(self) -> str:
        numbers = {"starttime": self.started, "clinfo": len(self.nodes()), "vmlist": 1}
        return json.dumps(numbers | {"kvstore": {name: {} for name in self.nodes()}}, indent=0) + "\n"

    def vmlist(self) -> str:
        ids: dict[str, Any] = {}
        for folder, kind in KINDS.items():
            for path in sorted(self.files.glob(f"nodes/*/{folder}/*.conf")):
                ids[path.stem] = {"node": path.parts[-3], "type": kind, "version": 1}
        return json.dumps({"version": 1} | ({"ids": ids} if ids else {}), indent=0) + "\n"

    # ---- helpers

    def real(self, path: str) -> Path:
        for link, target in self.links.items():
            if path.startswith(f"{link}/"):
                path = f"/{target}{path[len(link) :]}"
        return self.files / path[1:]

    def private(self, path: str) -> bool:
        parts = self.real(path).relative_to(self.files).parts
        return parts[:1] == ("priv",) or (parts[:1] == ("nodes",) and parts[2:3] == ("priv",))

    def lock(self, path: str) -> bool:
        return self.real(path).parent == self.files / "priv" / "lock" and self.real(path).is_dir()

    def change(self, path: str) -> Path:
        """Return the file behind a path that is about to change; without quorum nothing does."""
        if path in self.told or path in self.links:
            fail(errno.EACCES)
        if not self.quorate():
            fail(errno.EACCES)
        return self.real(path)

    # ---- reading

    def getattr(self, path: str, fh: object = None) -> dict[str, int]:
        size, links, when = 0, 1, self.started
        if path in self.links:
            kind, mode, size = stat.S_IFLNK, 0o777, len(self.links[path])
        elif path in self.told:
            kind, mode, size = stat.S_IFREG, 0o444, len(self.told[path]().encode())
        else:
            found = self.real(path).lstat()
            directory = stat.S_ISDIR(found.st_mode)
            kind, mode = (stat.S_IFDIR, 0o777) if directory else (stat.S_IFREG, 0o666)
            size, links, when = (0, 2, int(found.st_mtime)) if directory else (found.st_size, 1, int(found.st_mtime))
        if not self.quorate():
            mode &= 0o555
        mode &= 0o700 if self.private(path) else 0o750 if kind == stat.S_IFREG else 0o755
        times = dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), when * 1_000_000_000)
        base = {"st_mode": kind | mode, "st_size": size, "st_nlink": links, "st_uid": 0, "st_gid": WWW_DATA}
        return base | times | {"st_blocks": -(-size // 512)}

    def readlink(self, path: str) -> str:
        return self.links[path]

    def readdir(self, path: str, fh: object) -> list[str]:
        target = f"/{self.links[path]}" if path in self.links else path
        names = [p.name for p in self.real(target).iterdir()]
        return [".", "..", *sorted([*names, *([p[1:] for p in (*self.links, *self.told)] if path == "/" else [])])]

    def read(self, path: str, size: int, offset: int, fh: object) -> bytes:
        text = self.told[path]().encode() if path in self.told else self.real(path).read_bytes()
        return text[offset : offset + size]

    def statfs(self, path: str) -> dict[str, int]:
        return {"f_bsize": 4096, "f_blocks": 32768, "f_bavail": 32000, "f_bfree": 32000, "f_files": 262144,
                "f_ffree": 262000, "f_namemax": 255}  # fmt: skip

    # ---- writing

    def create(self, path: str, mode: int, fi: object = None) -> int:
        self.change(path).touch()
        return 0

    def write(self, path: str, data: bytes, offset: int, fh: object) -> int:
        if offset + len(data) > LIMIT:
            fail(errno.EFBIG)
        with self.change(path).open("r+b") as file:
            file.seek(offset)
            return file.write(data)

    def truncate(self, path: str, length: int, fh: object = None) -> None:
        if length > LIMIT:
            fail(errno.EFBIG)
        os.truncate(self.change(path), length)

    def unlink(self, path: str) -> None:
        self.change(path).unlink()

    def rename(self, old: str, new: str) -> None:
        source, target = self.change(old), self.change(new)
        if self.lock(old):
            fail(errno.EACCES)
        if source.is_dir() and any(source.iterdir()):
            fail(errno.ENOTEMPTY)  # only empty directories move
        source.rename(target)
        os.utime(target)

    def mkdir(self, path: str, mode: int) -> None:
        self.change(path).mkdir()

    def rmdir(self, path: str) -> None:
        self.change(path).rmdir()

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        file = self.change(path)
        seconds = (times[1] if times else time.time_ns()) // 1_000_000_000
        if self.lock(path):
            held = int(file.stat().st_mtime)
            if seconds == 0 and time.time() - held > LOCK_TIMEOUT:
                file.rmdir()
                return
            if seconds < held:
                fail(errno.EACCES)  # time 0 asks for an unlock that is not due yet
        os.utime(file, (seconds, seconds))

    def chmod(self, path: str, mode: int) -> None:
        if stat.S_IMODE(mode) != (0o600 if self.private(path) else 0o640):
            fail(errno.EPERM)

    def chown(self, path: str, uid: int, gid: int) -> None:
        if uid not in (0, -1, 0xFFFFFFFF) or gid not in (WWW_DATA, -1, 0xFFFFFFFF):
            fail(errno.EPERM)

    def symlink(self, target: str, source: str) -> None:
        fail(errno.ENOSYS)

    def mknod(self, path: str, mode: int, dev: int) -> None:
        fail(errno.ENOSYS)

    link = symlink


def main() -> None:
    mountpoint, node, store = sys.argv[1:]
    options = {"foreground": True, "nothreads": True, "allow_other": True, "default_permissions": True}
    fuse.FUSE(Pmxcfs(node, Path(store)), mountpoint, fsname="/dev/fuse", direct_io=True, **options)


if __name__ == "__main__":
    main()
