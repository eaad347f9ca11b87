"""Finds the tables of legacy iptables that exist, and has them read and judged.

What that takes is imported only where there is such a table: the agent is compiled anew on every run.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from hostaudit_agent.netfilter.chains import Reading

if TYPE_CHECKING:
    from hostaudit_agent.root import Root

PART = "iptables-legacy"
NAMES = {"ip": "/proc/net/ip_tables_names", "ip6": "/proc/net/ip6_tables_names"}


def read(root: Root) -> Reading:
    """Read both address families; what could not be read is in ``unread``.

    The files of names are readable by root only, and absent where the kernel does not have this family's xtables.
    """
    reading = Reading()
    for family, path in NAMES.items():
        try:
            names = sorted((root.read_text(path) or "").split())
        except PermissionError:
            reading.unread.append((f"{PART}/{family}", "needs root"))
            continue
        except OSError as error:
            reading.unread.append((f"{PART}/{family}", error.strerror or str(error)))
            continue
        for name in names:
            _read(family, name, reading)
    return reading


def _read(family: str, table: str, reading: Reading) -> None:
    from hostaudit_agent.netfilter import iptrules, xtables  # noqa: PLC0415 - see above

    part = f"{PART}/{family}/{table}"
    try:
        iptrules.judge(xtables.read(xtables.FAMILIES[family], table), reading)
    except PermissionError:
        reading.unread.append((part, "needs CAP_NET_ADMIN"))
    except OSError as error:
        reading.unread.append((part, error.strerror or str(error)))
    except (KeyError, IndexError, ValueError, struct.error) as error:
        reading.unread.append((part, f"malformed table: {error!r}"))
