"""Sessions with a terminal: wtmp(5), or the database of wtmpdb, which Debian 13 may have instead."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from hostaudit_agent.collectors import UnreadableError
from hostaudit_agent.snapshot import Login

if TYPE_CHECKING:
    from hostaudit_agent.root import Root

WTMP, DATABASE = "var/log/wtmp", "var/lib/wtmpdb/wtmp.db"
MOST = 20
TAIL = 1 << 18
"""Bytes of the file's end that are looked at."""
USER_PROCESS = 7
"""glibc, bits/utmp.h; wtmpdb numbers the types of its rows otherwise."""
DATABASE_USER_PROCESS = 3
"""wtmpdb, include/wtmpdb.h."""
SHORT = struct.Struct("<h2xi32s4s32s256shhiii4i20x")
"""struct utmp where times are 32 bits for the sake of older programs: x86, arm."""
LONG = struct.Struct("<h2xi32s4s32s256shh4xqqq4i20x4x")
"""struct utmp elsewhere (aarch64, riscv64, loongarch64): the session and both parts of the time have 64 bits."""
WIDE = ("aarch64", "riscv64", "loongarch64")


def read(root: Root, since: float) -> list[Login]:
    """Return the logins since then, oldest first. Raises UnreadableError where nothing records them."""
    found = _wtmp(root, since) + _database(root, since)
    if not found and not root.exists(WTMP) and not root.exists(DATABASE):
        raise UnreadableError("nothing records logins here: there is neither /var/log/wtmp nor wtmpdb")
    return sorted(found, key=lambda one: one.time)[-MOST:]


def _wtmp(root: Root, since: float) -> list[Login]:
    try:
        with open(root.path(WTMP), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            form = LONG if os.uname().machine in WIDE else SHORT
            if size % form.size:
                raise UnreadableError(f"/{WTMP} has records of another size than {form.size} bytes")
            file.seek(max(0, size - TAIL // form.size * form.size))
            data = file.read(TAIL)
    except FileNotFoundError:
        return []
    found = []
    for record in form.iter_unpack(data[: len(data) // form.size * form.size]):
        line, user, host, seconds = _text(record[2]), _text(record[4]), _text(record[5]), float(record[9])
        if record[0] == USER_PROCESS and seconds >= since and line.startswith(("pts", "tty")):
            found.append(Login(seconds, user, line, host))
    return found


def _database(root: Root, since: float) -> list[Login]:
    """Read wtmpdb's table; its times are microseconds (wtmpdb, lib/sqlite.c)."""
    if not root.exists(DATABASE):
        return []
    try:
        import sqlite3  # noqa: PLC0415 - only here, and a minimal Python may lack it
    except ImportError:
        raise UnreadableError("this host's Python has no sqlite3 to read wtmpdb with") from None
    try:
        database = sqlite3.connect(f"file:{root.path(DATABASE)}?mode=ro&immutable=1", uri=True, timeout=1)
        try:
            query = (
                "SELECT Login, User, TTY, RemoteHost FROM wtmp WHERE Type = ? AND Login >= ? "
                "ORDER BY Login DESC LIMIT ?"
            )
            rows = database.execute(query, (DATABASE_USER_PROCESS, int(since * 1e6), 10 * MOST)).fetchall()
        finally:
            database.close()
    except sqlite3.Error as e:
        raise UnreadableError(f"/{DATABASE}: {e}") from None
    return [
        Login(login / 1e6, str(user), str(tty), str(host or ""))
        for login, user, tty, host in rows
        if str(tty).startswith(("pts", "tty"))
    ]


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")
