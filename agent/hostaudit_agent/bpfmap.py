"""BPF maps that are pinned in a bpffs: what they are, how full they are, and what they count. By bpf(2), and ctypes.

Commands and layouts: include/uapi/linux/bpf.h. A map does not know its own fill level (kernel/bpf/hashtab.c keeps none
for LRU maps), so that its keys are walked. BPF_MAP_GET_NEXT_KEY takes no lock. BPF_MAP_LOOKUP_BATCH is several times
cheaper and locks each bucket; before Linux 6.15 an update that meets such a lock on its own CPU fails with EBUSY, and a
program that tracks connections drops the packet then. So it is used from there on only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
from struct import Struct
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from hostaudit_agent import budget
from hostaudit_agent.collectors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

    Buffer = ctypes.Array[ctypes.c_char]

# the architectures' syscall tables; those with the generic one (include/uapi/asm-generic/unistd.h) share 280
NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351}
LOOKUP_ELEM, GET_NEXT_KEY, OBJ_GET, OBJ_GET_INFO_BY_FD, LOOKUP_BATCH = 1, 4, 7, 15, 24
F_RDONLY = 1 << 3
F_NO_COMMON_LRU = 1 << 1
KINDS = {
    1: "hash",
    2: "array",
    5: "percpu_hash",
    6: "percpu_array",
    9: "lru_hash",
    10: "lru_percpu_hash",
    11: "lpm_trie",
}
BATCH = 4096
"""Entries that are copied at once; the buffers take some hundred kilobytes."""
UNLOCKED = (6, 15)
"""The first kernel whose buckets are locked so that nobody is refused (rqspinlock)."""
TRAIL = 16
"""Keys that are remembered: when the one a walk stands on is deleted, it goes on from one before it."""
STRIDE = 1024
"""Keys between two looks at the clock and at which key is the first."""
MOST_CPUS = 8192
"""CONFIG_NR_CPUS is no larger on any architecture."""
RESTLESS = "it changes faster than it can be counted"
ATTRIBUTES = 72
"""Bytes of union bpf_attr that are passed; what a kernel does not know of them must be 0, and is."""

_path = Struct("=QII")
_info = Struct("=IIQ")
_described = Struct("=6I16s")  # type, id, key size, value size, max entries, flags, name
_element = Struct("=I4xQQQ")  # map, key, value or next key, flags
_batch = Struct("=QQQQIIQQ")  # from, to, keys, values, count, map, flags of elements, flags
_count = Struct("=I")
_COUNT_AT = 32
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


class Info(NamedTuple):
    """What the kernel says of a map."""

    kind: str
    key_size: int
    value_size: int
    most: int
    flags: int


class Pinned:
    """An open map. Every failure is an ``OSError``: EPERM without CAP_BPF, or where the kernel is locked down."""

    def __init__(self, path: str) -> None:
        machine = os.uname().machine
        if machine not in NUMBERS or sys.maxsize < 1 << 32:
            raise UnreadableError(f"the number of bpf(2) on {machine} is not known here")
        self._number = ctypes.c_long(NUMBERS[machine])
        name = ctypes.create_string_buffer(os.fsencode(path))
        self._fd = self._call(OBJ_GET, _path.pack(ctypes.addressof(name), 0, F_RDONLY))
        try:
            self.info = self._describe()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor; the map stays."""
        os.close(self._fd)

    def count(self, seconds: float) -> int:
        """Return the number of entries. Raises UnreadableError where that takes longer, or they change too fast."""
        if _release() >= UNLOCKED and self.info.kind in ("hash", "lru_hash"):
            try:
                return self._batches(monotonic() + seconds)
            except OSError as error:
                if error.errno != errno.ENOSPC:  # a bucket with more entries than a batch has room for
                    raise
        return sum(1 for _ in self.keys(seconds))

    def keys(self, seconds: float) -> Iterator[bytes]:
        """Yield the keys, one by one. A key that is deleted while the walk stands on it does not begin it anew.

        The kernel answers for such a key with the first one of all (htab_map_get_next_key). Then the one before it is
        asked, and so on. Raises UnreadableError as ``count``.
        """
        deadline = monotonic() + seconds
        head = ctypes.create_string_buffer(self.info.key_size)
        ring = [ctypes.create_string_buffer(self.info.key_size) for _ in range(TRAIL)]
        begin = self._asking(None, head)
        steps = [self._asking(ring[n - 1], ring[n]) for n in range(TRAIL)]
        if not self._step(begin):
            return
        ring[0].raw = first = head.raw
        yield first
        number = 1
        while self._step(steps[number % TRAIL]):
            key = ring[number % TRAIL].raw
            if key == first:
                key = self._again(ring, number, first)
                if not key:
                    return
            yield key
            number += 1
            if number % STRIDE == 0:
                budget.check()
                if monotonic() > deadline:
                    raise UnreadableError(f"budget: {seconds:.2g} s are over, {number} entries were counted")
                if number > 2 * self.info.most:
                    raise UnreadableError(RESTLESS)
                if self._step(begin):
                    first = head.raw

    def _again(self, ring: list[Buffer], number: int, first: bytes) -> bytes:
        """Return the key that follows where the walk stood; empty where it had come to the end."""
        for back in range(2, min(TRAIL, number + 1)):
            if not self._step(self._asking(ring[(number - back) % TRAIL], ring[number % TRAIL])):
                return b""
            key: bytes = ring[number % TRAIL].raw
            if key != first:
                return key
        raise UnreadableError(RESTLESS)

    def values(self, key: bytes, cpus: int) -> list[bytes]:
        """Return the values of a key, one for each possible CPU where the map keeps them apart; none: it is gone."""
        size, number = self.info.value_size, 1
        if self.info.kind.startswith(("percpu", "lru_percpu")):
            size, number = (size + 7) & ~7, cpus
        # the kernel copies for all CPUs that are possible to it, whatever anybody says of their number
        value = ctypes.create_string_buffer(size * max(number, MOST_CPUS))
        wanted = ctypes.create_string_buffer(key, len(key))
        try:
            self._call(LOOKUP_ELEM, _element.pack(self._fd, ctypes.addressof(wanted), ctypes.addressof(value), 0))
        except FileNotFoundError:
            return []
        data = value.raw
        return [data[at : at + self.info.value_size] for at in range(0, size * number, size)]

    def _batches(self, deadline: float) -> int:
        keys = ctypes.create_string_buffer(self.info.key_size * BATCH)
        values = ctypes.create_string_buffer(self.info.value_size * BATCH)
        place = ctypes.create_string_buffer(max(8, self.info.key_size))
        here, number = 0, 0
        while True:
            budget.check()
            if monotonic() > deadline:
                raise UnreadableError(f"budget: the time is over, {number} entries were counted")
            wanted = _batch.pack(
                *(here, ctypes.addressof(place), ctypes.addressof(keys), ctypes.addressof(values)),
                *(BATCH, self._fd, 0, 0),
            )
            buffer = _buffer(wanted)
            done = self._raw(LOOKUP_BATCH, buffer)
            if done < 0 and ctypes.get_errno() != errno.ENOENT:
                raise _failed()
            number += int(_count.unpack_from(buffer.raw, _COUNT_AT)[0])
            if done < 0:  # the end; what it found is counted
                return number
            here = ctypes.addressof(place)

    def _describe(self) -> Info:
        found = ctypes.create_string_buffer(_described.size)
        self._call(OBJ_GET_INFO_BY_FD, _info.pack(self._fd, len(found), ctypes.addressof(found)))
        kind, _, key_size, value_size, most, flags, _ = _described.unpack(found.raw)
        return Info(KINDS.get(kind, str(kind)), key_size, value_size, most, flags)

    def _asking(self, key: Buffer | None, following: Buffer) -> Buffer:
        at = ctypes.addressof(key) if key else 0
        return _buffer(_element.pack(self._fd, at, ctypes.addressof(following), 0))

    def _step(self, asking: Buffer) -> bool:
        """Fetch the next key; False at the end."""
        if self._raw(GET_NEXT_KEY, asking) >= 0:
            return True
        if ctypes.get_errno() == errno.ENOENT:
            return False
        raise _failed()

    def _call(self, command: int, attributes: bytes) -> int:
        done = self._raw(command, _buffer(attributes))
        if done < 0:
            raise _failed()
        return done

    def _raw(self, command: int, attributes: Buffer) -> int:
        return int(_syscall(self._number, command, attributes, ATTRIBUTES))


def _buffer(content: bytes) -> Buffer:
    return ctypes.create_string_buffer(content, ATTRIBUTES)


def _failed() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


def _release() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)
