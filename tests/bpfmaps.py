"""Makes BPF maps in a bpffs as Cilium's loader does: for tests here, and as a script inside hosts of the lab.

``bpfmaps.py fill PIN KIND KEY VALUE MOST NUMBER``  a map with that many entries put into it
``bpfmaps.py drops PIN REASON...``  ``cilium_metrics``, in which these reasons grow 40 times a second, for a minute
"""

import ctypes
import os
import struct
import sys
import time
from pathlib import Path

NUMBER = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
CREATE, UPDATE, DELETE, PIN, UPDATE_BATCH = 0, 2, 3, 6, 26
KINDS = {"hash": 1, "percpu_hash": 5, "lru_hash": 9, "lpm_trie": 11}
F_NO_PREALLOC = 1
CPUS = 1024
"""Values of one key that are written: more than any machine has here, and the kernel takes as many as it has."""
BATCH = 4096
_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> int:
    done = int(_libc.syscall(NUMBER, command, ctypes.create_string_buffer(attributes, 72), 72))
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


def create(path: str, kind: str, key: int, value: int, most: int) -> int:
    """Return the descriptor of a new map that is pinned there."""
    name = Path(path).name[:15].encode().ljust(16, b"\0")
    fd = _bpf(
        CREATE,
        struct.pack("=7I", KINDS[kind], key, value, most, F_NO_PREALLOC if kind == "lpm_trie" else 0, 0, 0) + name,
    )
    where = ctypes.create_string_buffer(path.encode())
    _bpf(PIN, struct.pack("=QII", ctypes.addressof(where), fd, 0))
    return fd


def put(fd: int, key: bytes, value: bytes) -> None:
    """Set one entry."""
    one, other = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(UPDATE, struct.pack("=I4xQQQ", fd, ctypes.addressof(one), ctypes.addressof(other), 0))


def delete(fd: int, key: bytes) -> None:
    """Remove one entry."""
    one = ctypes.create_string_buffer(key, len(key))
    _bpf(DELETE, struct.pack("=I4xQ", fd, ctypes.addressof(one)))


def fill(fd: int, key: int, value: int, number: int) -> None:
    """Put so many entries into a map."""
    for start in range(0, number, BATCH):
        count = min(BATCH, number - start)
        keys = b"".join((start + n).to_bytes(key, "little") for n in range(count))
        one, other = ctypes.create_string_buffer(keys, len(keys)), ctypes.create_string_buffer(value * count)
        places = (ctypes.addressof(one), ctypes.addressof(other))
        _bpf(UPDATE_BATCH, struct.pack("=QQQQIIQQ", 0, 0, *places, count, fd, 0, 0))


def metrics_key(reason: int, direction: int, line: int = 0) -> bytes:
    """Return a key of cilium_metrics (bpf/lib/common.h, struct metrics_key)."""
    return struct.pack("=BBHB3x", reason, direction, line, 1)


def metrics_value(packets: int) -> bytes:
    """Return a value of cilium_metrics: these packets on the first CPU, and bytes."""
    return struct.pack("=QQ", packets, 60 * packets) + bytes(16 * (CPUS - 1))


def _drops(path: str, reasons: list[int]) -> None:
    fd = create(path, "percpu_hash", 8, 16, 1024)
    for packets in range(1, 2400):
        for reason in reasons:
            put(fd, metrics_key(reason, 2), metrics_value(packets))
        time.sleep(0.025)


if __name__ == "__main__":
    what, pin, *rest = sys.argv[1:]
    Path(pin).parent.mkdir(parents=True, exist_ok=True)
    if what == "fill":
        sizes = [int(word) for word in rest[1:]]
        fill(create(pin, rest[0], *sizes[:3]), sizes[0], sizes[1], sizes[3])
    else:
        _drops(pin, [int(word) for word in rest])
