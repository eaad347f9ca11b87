"""Whether the kernel has a part already, told without making it load one.

A message to an nfnetlink subsystem that is not there makes the kernel call modprobe (request_module in
net/netfilter/nfnetlink.c), and opening a netlink socket can do the same: an agent that asks nf_tables for its rules
would load nf_tables. So the collectors ask here first.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostaudit_agent.root import Root

CHUNK = 1 << 18


def has_module(root: Root, name: str, symbol: str) -> bool | None:
    """Tell whether the kernel has the module, loaded or built in; ``None`` where that cannot be told.

    ``symbol`` is a function that only this module defines; the kernel's symbol table is asked last, because reading
    it costs tens of milliseconds. The order of the questions:

    1. /proc/modules does not exist: this kernel cannot load modules, so asking is harmless (True).
    2. The module is in /proc/modules.
    3. kernel.modules_disabled is 1: nothing can be loaded any more (True).
    4. modules.builtin of the running kernel lists it, or does not. /sys/module is no answer: it has no entry for
       built-in code without parameters, and nf_tables has none.
    5. Containers often lack /lib/modules: then the symbol is searched for in /proc/kallsyms.
    """
    modules = root.read_bytes("/proc/modules")
    if modules is None:
        return True
    if b"\n" + name.encode() + b" " in b"\n" + modules:
        return True
    if (root.read_bytes("/proc/sys/kernel/modules_disabled") or b"").strip() == b"1":
        return True
    builtin = root.read_bytes(f"/lib/modules/{os.uname().release}/modules.builtin")
    if builtin:
        return b"/" + name.encode() + b".ko" in builtin
    return _has_symbol(root, symbol)


def _has_symbol(root: Root, symbol: str) -> bool | None:
    """Tell whether /proc/kallsyms names the symbol; lines are ``address type name [module]``."""
    wanted, rest, seen = b" " + symbol.encode(), b"", False
    try:
        with open(root.path("/proc/kallsyms"), "rb", buffering=0) as symbols:
            while True:
                chunk = symbols.read(CHUNK)
                if not chunk:
                    return False if seen else None
                seen = True
                block = rest + chunk
                if wanted + b"\n" in block or wanted + b"\t" in block:
                    return True
                rest = block[-len(wanted) :]
    except OSError:
        return None
