"""Programs close their connections when the other end has closed them.

What it reads
    TCP sockets in CLOSE_WAIT of each network namespace, by the process that holds them: how many, of how many TCP
    sockets of that process, to which peers, how long they have been idle (tcp_info), and how many were added between
    the samples.

Why it matters
    CLOSE_WAIT waits for the program, not for the network: the peer's FIN has come, and close() has not been called.
    There is no timeout for it. The sockets use up file descriptors and pools of connections until the program takes no
    more of them, hours or days after the mistake.

Active when
    A process has ``sockets`` of them or more, they are ``share`` of its TCP sockets, half of them have been idle for
    ``idle_seconds`` or more, and their number grew between the samples. Without growth, or where the idle time is not
    told, it is a risk. Younger ones are what a busy program has not come round to.

How it is remedied
    In the program: it has to close what it has read to the end, on its error paths too (the body of an HTTP answer; the
    connection that a pool gives up). A restart frees the sockets for now. No sysctl touches this state.

Fix safety
    Connections of other users of the program end with its restart.

References
    https://www.rfc-editor.org/rfc/rfc9293#section-3.3.2
    https://man7.org/linux/man-pages/man8/ss.8.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _say, _sockets, check, passed, unknown
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding
    from hostaudit_agent.snapshot import CloseWait


@check(
    reads=("sockets",),
    severity=Severity.MEDIUM,
    thresholds={"sockets": 100, "share": 0.5, "idle_seconds": 60},
)
def evaluate(view: View) -> Finding:
    """Look for the process with the most sockets that it should have closed."""
    table = view.snapshot.sockets
    assert table is not None  # noqa: S101 - reads
    total = table.states.get("CLOSE_WAIT", 0)
    leaks = [one for one in table.close_wait if _leaks(view, one)]
    if not leaks:
        if total >= view.threshold("sockets") and table.truncated:
            return unknown(f"{total} sockets in CLOSE_WAIT among more sockets than were counted")
        return passed(f"{_say.plural(total, 'socket')} in CLOSE_WAIT", states=table.states)
    worst = leaks[0]
    active = any(bool(one.idle) and (one.increase or 0) > 0 for one in leaks)
    pid = worst.process.pid if worst.process else 0
    name = _sockets.who(worst.process)
    peers = " and ".join(list(worst.peers)[:1])
    return view.fail(
        Grade.ACTIVE if active else Grade.RISK,
        f"{name[:31]} leaves {worst.count} connections unclosed",
        severity=Severity.HIGH if active else Severity.MEDIUM,
        evidence={"processes": [_shown(one) for one in leaks], "states": table.states, "source": table.source},
        reproduce=_say.shell(
            view,
            "ss -Htanpo state close-wait"
            + (f" | grep -c pid={pid}, ; " if pid else " | head ; ")
            + _say.twice("ss -Htan state close-wait | wc -l", 60),
        ),
        disproof="The number falls again by itself while the program runs: it was only late.",
        advice=(
            f"{name} has to close what its peers have closed"
            + (f" (most: {peers})" if peers else "")
            + ". Restart it to free the sockets for now, and mend the path that forgets to close; see its open files "
            "(`fd-exhaustion`)."
        ),
        cause="a program does not close its connections",
    )


def _leaks(view: View, one: CloseWait) -> bool:
    """Say whether the sockets are many, are what the process mainly has, and are old."""
    if one.count < view.threshold("sockets"):
        return False
    if one.sockets and one.count < view.threshold("share") * one.sockets:
        return False
    return not one.idle or one.idle[1] >= view.threshold("idle_seconds")


def _shown(one: CloseWait) -> dict[str, object]:
    return {
        "process": _sockets.shown(one.process),
        "close_wait": one.count,
        "tcp_sockets": one.sockets,
        "increase": one.increase,
        "idle_seconds": dict(zip(("least", "median", "most"), one.idle, strict=False)),
        "peers": one.peers,
        "local_port": one.local_port,
    }
