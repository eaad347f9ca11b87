"""What became of each connection: one verdict, the host that decides it, and the ways of its segments. Pure.

The first that matches counts. The order: an answer that was seen beats a silence, and of silences the one
nearest to the client is told, because everything behind it follows from it. What rests on *not* having seen something
is said only where every sensor that could have seen it heard everything; else the verdict is ``inconclusive``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _say
from hostaudit.trace.fates import Judged, Verdict
from hostaudit.trace.passages import passages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.trace.connections import Segments
    from hostaudit.trace.fates import Context
    from hostaudit.trace.frames import Frame
    from hostaudit.trace.passages import Passage


def judge(one: Segments, context: Context) -> Judged:
    """Return the verdict of one connection."""
    found = _Judge(one, context)
    if one.attempt.outcome == "local":
        return found.say(Verdict.UNTRIED, "it could not be begun at the vantage point")
    judged = found.answered() if one.attempt.connected else found.unanswered()
    certain = {Verdict.REFUSED, Verdict.OTHER_SOURCE, Verdict.OK_SYMMETRIC, Verdict.REJECTED}
    if context.incomplete and judged.verdict not in certain:
        names = ", ".join(context.incomplete)
        return found.say(Verdict.INCONCLUSIVE, f"frames are missing from the capture of {names}")
    if context.deaf and judged.verdict in {Verdict.LOST_BEFORE, Verdict.LOST_BETWEEN, Verdict.NO_SYN_ACK}:
        names = ", ".join(context.deaf)
        return found.say(Verdict.INCONCLUSIVE, f"what was not seen may have gone through {names}, without a sensor")
    return judged


class _Judge:
    """The ways of one connection's segments, and the questions about them."""

    def __init__(self, one: Segments, context: Context) -> None:
        self.one, self.context = one, context
        self.syn = self._ways(one.syn)
        self.syn_ack = self._ways(one.syn_ack)
        self.ack = self._ways(one.client)
        self.reset = self._ways(one.reset)

    def _ways(self, frames: Sequence[Frame]) -> tuple[Passage, ...]:
        return tuple(passages(frames, self.context.nodes))

    def say(self, verdict: Verdict, reason: str, host: str = "", segment: str = "") -> Judged:
        symmetric = None
        if self.syn and self.syn_ack:
            symmetric = _forwarders(self.syn) == _forwarders(self.syn_ack)
        ways = (self.syn, self.syn_ack, self.ack, self.reset)
        return Judged(self.one, verdict, reason, host, segment, symmetric, *ways)

    # ---- it was not connected

    def unanswered(self) -> Judged:
        attempt = self.one.attempt
        if attempt.outcome == "unreachable" and attempt.origin:
            return self.say(
                Verdict.REJECTED, f"an ICMP error of {attempt.origin} ended it", self._owner(attempt.origin)
            )
        if (self.reset and not self.one.syn_ack) or attempt.outcome == "refused":
            return self._refused()
        if self.one.syn_ack and not any(
            (f.source, f.sport) == (self.context.vip, self.context.port) for f in self.one.syn_ack
        ):
            frame = self.one.syn_ack[0]
            who = next((f"{p.node.behind(p.from_guest)} on {p.host}" for p in self.syn_ack if p.from_guest), "")
            said = f"the SYN-ACK came from {frame.source}:{frame.sport}" + (f", {who}" if who else "")
            return self.say(Verdict.OTHER_SOURCE, f"{said}; the client waits for one from {self.context.vip}")
        if self.one.syn_ack:
            return self._answer_lost()
        return self._syn_lost()

    def _refused(self) -> Judged:
        makers = [p for p in self.reset if p.made]
        guests = [p for p in self.reset if p.from_guest]
        if guests:
            last = guests[0]
            return self.say(
                Verdict.REFUSED, f"{last.node.behind(last.from_guest)} on {last.host} refused it", last.host
            )
        for maker in makers:
            if self.context.vip in maker.node.addresses or any(p.taken and p.host == maker.host for p in self.syn):
                return self.say(Verdict.REFUSED, f"{maker.host} itself refused it: nothing listens there", maker.host)
            said = f"{maker.host} made the RST itself; the server was not asked"
            return self.say(Verdict.MIDDLEBOX_RESET, said, maker.host)
        delivered = [p for p in self.syn if p.to_guest]
        if not self.reset:
            where = "behind the last host that saw the SYN" if self._seen() else "before the first host of the trace"
            return self.say(Verdict.MIDDLEBOX_RESET, f"a RST that no host saw pass ended it: it was made {where}")
        if delivered:
            return self.say(
                Verdict.MIDDLEBOX_RESET, f"the RST came in from the network, not from {_guest(delivered[-1])}"
            )
        return self.say(Verdict.REFUSED, "the RST came from outside the hosts of the trace")

    def _syn_lost(self) -> Judged:
        seen = self._seen()
        if not seen:
            left = next((p for p in self.syn if p.made), None)
            said = f"it left {left.host} by {left.left_by_uplink or 'no port'}, and " if left else ""
            return self.say(
                Verdict.LOST_BEFORE,
                f"{said}no host of the trace saw the SYN come in: ARP, route or VLAN before them",
                segment="SYN",
            )
        delivered = [p for p in seen if p.to_guest or p.taken]
        stuck = [p for p in seen if p.stuck and (not delivered or p.stuck.tunnel or p.from_guest)]
        if stuck:
            return self.say(Verdict.SYN_DROPPED, _lost_in(stuck[0], "SYN"), stuck[0].host, "SYN")
        last = seen[-1]
        if last.left_by_uplink and _last_left(last) == last.left_by_uplink and not self._last_is_guest(seen):
            how = f" in {last.hops[-1].tunnel}" if last.hops[-1].tunnel else ""
            said = f"the SYN left {last.host} by {last.left_by_uplink}{how}, and no other host of the trace saw it come"
            return self.say(Verdict.LOST_BETWEEN, said, segment="SYN")
        who = _guest(delivered[-1]) if delivered else "the server"
        where = delivered[-1].host if delivered else last.host
        return self.say(Verdict.NO_SYN_ACK, f"{who} was handed the SYN and never answered", where, "SYN")

    def _last_is_guest(self, seen: Sequence[Passage]) -> bool:
        """Say whether the last host handed it to a guest and that guest did not hand it on."""
        last = seen[-1]
        final = last.hops[-1]
        return bool(final.here or (last.to_guest and final.left == last.to_guest))

    def _answer_lost(self) -> Judged:
        away = [p for p in self.syn_ack if not p.taken]
        arrived = next((p for p in self.syn_ack if p.taken), None)
        if arrived:
            said = f"the SYN-ACK reached {arrived.host}, and its own packet filter or stack took it"
            return self.say(Verdict.DROPPED, said, arrived.host, "SYN-ACK")
        own = [p for p in away if p.stuck and p.from_guest]
        passing = [p for p in away if p.stuck and not p.from_guest]
        out = [p for p in away if p.left_by_uplink]
        for candidates in (own, passing if not out else []):
            if candidates:
                return self.say(Verdict.DROPPED, _lost_in(candidates[0], "SYN-ACK"), candidates[0].host, "SYN-ACK")
        if out:
            last = out[-1]
            said = f"the SYN-ACK left {last.host} by {last.left_by_uplink}, and did not reach the client"
            return self.say(Verdict.LOST_AFTER, said, segment="SYN-ACK")
        return self.say(Verdict.LOST_AFTER, "the SYN-ACK was handed over and did not reach the client", "", "SYN-ACK")

    # ---- it was connected

    def answered(self) -> Judged:
        attempt = self.one.attempt
        if attempt.outcome == "ok" or attempt.outcome in {"closed", "unexpected", "reset"}:
            return self._complete()
        for name, ways in (("ACK", self.ack), ("reply", self._ways(self.one.server))):
            stuck = [p for p in ways if p.stuck]
            if stuck:
                return self.say(
                    Verdict.ACK_LOST,
                    _lost_in(stuck[0], f"client's {name}" if name == "ACK" else name),
                    stuck[0].host,
                    name,
                )
        seen = [p for p in self.ack if not p.made]
        if self._seen() and not seen:
            return self.say(Verdict.ACK_LOST, "no host of the trace saw the client's ACK come in", segment="ACK")
        delivered = [p for p in seen if p.to_guest or p.taken]
        if delivered:
            said = f"{_guest(delivered[-1])} was handed the client's ACK, and then nothing came back"
            return self.say(Verdict.NO_DATA, said, delivered[-1].host, "reply")
        return self.say(Verdict.INCONCLUSIVE, "it connected past the hosts of the trace, then nothing came back")

    def _complete(self) -> Judged:
        if not self.syn and not self.syn_ack:
            return self.say(Verdict.INCONCLUSIVE, "it worked, past every host of the trace")
        again = max((p.copies for p in (*self.syn, *self.syn_ack)), default=1)
        if self.one.attempt.retransmits or again > 1:
            said = f"it worked after a segment had been sent again; {self._where_again()}"
            return self.say(Verdict.RETRANSMIT, said)
        there, back = _forwarders(self.syn), _forwarders(self.syn_ack)
        if there == back:
            return self.say(Verdict.OK_SYMMETRIC, "SYN and SYN-ACK took the same way")
        return self.say(
            Verdict.OK_ASYMMETRIC,
            f"the SYN went through {_names(there)}, the SYN-ACK through {_names(back)}: it works while none of them "
            f"drops INVALID",
        )

    def _where_again(self) -> str:
        for name, ways in (("SYN", self.syn), ("SYN-ACK", self.syn_ack), ("ACK", self.ack)):
            for passage in ways:
                missing = _missing(
                    passage, getattr(self.one, {"ACK": "client"}.get(name, name.lower().replace("-", "_")))
                )
                if missing:
                    return f"{_say.plural(missing, name)} lost in {passage.host}"
        return "it was not lost in a host of the trace"

    def _seen(self) -> list[Passage]:
        """Return how the SYN went through the hosts that it came to."""
        return [p for p in self.syn if not (p.made and len(p.hops) == 1)]

    def _owner(self, address: str) -> str:
        return next((name for name, node in self.context.nodes.items() if address in node.addresses), "")


def _forwarders(ways: Sequence[Passage]) -> frozenset[str]:
    return frozenset(p.host for p in ways if p.forwarded)


def _names(hosts: frozenset[str]) -> str:
    return " and ".join(sorted(hosts)) or "no host of the trace"


def _guest(passage: Passage) -> str:
    if passage.taken:
        return passage.host
    return f"{passage.node.behind(passage.to_guest)} on {passage.host}" if passage.to_guest else passage.host


def _last_left(passage: Passage) -> str:
    return next((hop.left for hop in reversed(passage.hops) if hop.left), "")


def _lost_in(passage: Passage, segment: str) -> str:
    hop = passage.stuck
    assert hop is not None  # noqa: S101 - the callers chose it for that
    how = f" in {hop.tunnel}" if hop.tunnel else ""
    inner = f"; {hop.inner} still saw it" if hop.inner else ""
    source = f" from {passage.node.behind(hop.entered)}" if hop.entered == passage.from_guest and hop.entered else ""
    return f"the {segment} entered {passage.host} by {hop.entered}{source}{how} and never left{inner}"


def _missing(passage: Passage, frames: Sequence[Frame]) -> int:
    """Return how many copies came into a host plainly and did not go out again."""
    mine = [f for f in frames if f.host == passage.host]
    for hop in passage.hops:
        if hop.entered and hop.left and not hop.here:
            came = sum(f.device == hop.entered and not f.out for f in mine)
            went = sum(f.device == hop.left and f.out for f in mine)
            if came > went:
                return came - went
    return 0
