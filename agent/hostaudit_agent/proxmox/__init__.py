"""A Proxmox VE node, from its files alone: no command of Proxmox is run, and none of its packages is needed.

``read`` is all that other machines pay for: what reads a node is imported only on one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from hostaudit_agent.root import Root
    from hostaudit_agent.snapshot import Proxmox


def read(
    root: Root,
    version: Callable[[str], str | None],
    hostname: str,
    commands: Collection[str],
    unread: Callable[[str, str], None],
) -> Proxmox | None:
    """Return what there is of Proxmox VE; ``None`` on any other machine.

    ``version`` returns that of an installed package, ``commands`` are the names of all processes.
    """
    manager = version("pve-manager")
    mounted = root.exists("etc/pve/.version")
    if manager is None and not mounted and not root.exists("etc/pve/nodes"):
        return None
    from hostaudit_agent.proxmox import node  # noqa: PLC0415 - only a Proxmox node needs it

    return node.read(root, manager or "", node.Around(version, hostname, commands, unread))
