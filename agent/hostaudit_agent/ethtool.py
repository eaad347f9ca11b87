"""What a driver says of its interface, by ioctl(2); a genetlink socket could make the kernel load a module.

Numbers and layouts: include/uapi/linux/ethtool.h and sockios.h. The commands used here need no privilege and change
nothing. The older ETHTOOL_GSET is not used: the kernel writes a warning into its log for it.
"""

from __future__ import annotations

import socket
from array import array
from fcntl import ioctl
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, Optional

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

SIOCETHTOOL = 0x8946
GTXCSUM, GLINKSETTINGS = 0x16, 0x4C
NAME = 16
UNKNOWN = 0xFFFFFFFF
DUPLEX = {0: "half", 1: "full"}
MASKS = 127
"""Words of link modes times three: what the kernel appends fits here whatever its number (it is an s8)."""

_request = Struct("@16sP")  # struct ifreq: the name, and a pointer to the command
_value = Struct("=II")  # struct ethtool_value: command, data
_settings = Struct("=IIBBBBBBBb")  # struct ethtool_link_settings up to link_mode_masks_nwords
SETTINGS_SIZE = 48


class Said(NamedTuple):
    """The answer about one interface; ``None`` and empty: the driver does not say."""

    speed: Optional[int]
    """Mbit/s"""
    duplex: str
    tx_checksum: Optional[bool]


class Ethtool:
    """A socket of the calling thread's network namespace to ask with."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._words = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def ask(self, name: str) -> Said:
        """Ask about an interface that exists: for a name that does not, the kernel would look for a module."""
        speed, duplex = self._link(name)
        answer = self._call(name, _value.pack(GTXCSUM, 0))
        return Said(speed, duplex, None if answer is None else bool(_value.unpack(answer)[1]))

    def _link(self, name: str) -> tuple[int | None, str]:
        """Return speed and duplex. The kernel tells first how many words of link modes it has; then it answers."""
        for _ in range(2):
            head = _settings.pack(GLINKSETTINGS, 0, 0, 0, 0, 0, 0, 0, 0, self._words)
            answer = self._call(name, head + bytes(SETTINGS_SIZE + 4 * 3 * MASKS - len(head)))
            if answer is None:
                return None, ""
            _, speed, duplex, *_, words = _settings.unpack_from(answer)
            if words >= 0:
                return (speed if 0 < speed < UNKNOWN else None), DUPLEX.get(duplex, "")
            self._words = -words
        return None, ""

    def _call(self, name: str, command: bytes) -> bytes | None:
        """Return the command with the kernel's answer in it; ``None``: not supported by this driver."""
        place = array("B", command)  # its address can be had without ctypes, which takes milliseconds to load
        try:
            ioctl(self._socket, SIOCETHTOOL, _request.pack(name.encode()[: NAME - 1], place.buffer_info()[0]))
        except OSError:
            return None
        return place.tobytes()
