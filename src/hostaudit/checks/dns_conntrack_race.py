"""Two queries of one lookup do not race for one entry of connection tracking.

What it reads
    Lookups of ``hostaudit run --probe`` at the name servers of ``hostaudit_dns``, A and AAAA in parallel from one
    socket; ``insert_failed`` of connection tracking on the vantage point, right before them and after, without what
    counts as ``chain_toolong``.

Why it matters
    Both packets have the same addresses and ports. Where a rule translates their destination (a Service of
    Kubernetes with several name servers), each can be given another one, and the second to be confirmed clashes.
    Kernels since 2020 (Debian 11) let both through and count ``clash_resolve``, unless the tuple of the answer is
    taken as well, as where the source is translated to few ports; older ones always drop it. The client waits 5 s,
    and asks again. It hits some lookups only, and more under load.

Active when
    Of ``lost`` lookups or more one answer came at once and the other one only after it was asked for again, or never,
    and connection tracking of the vantage point refused that many entries in that time. Where it refused fewer, lost
    answers are told by ``dns-latency`` alone: the race may be on another host, or the packets were simply lost.

How it is remedied
    By a person: a name server on each node (NodeLocal DNSCache), ``options single-request-reopen`` in resolv.conf of
    what uses the GNU C library, NOTRACK for port 53, or DNS over TCP (``use-vc``).

Fix safety
    ``single-request-reopen`` opens a second socket where two answers did not come by the first. NOTRACK must not be
    set where port 53 is translated.

References
    https://github.com/kubernetes/kubernetes/issues/56903
    https://git.kernel.org/linus/6a757c07e51f
    https://kubernetes.io/docs/tasks/administer-cluster/nodelocaldns/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _dns, _probe, _say, fleet_check
from hostaudit.model import Severity

if TYPE_CHECKING:
    from hostaudit.checks import Fleet
    from hostaudit.model import Finding


@fleet_check(reads=("probes",), severity=Severity.MEDIUM, thresholds={"lost": 1})
def evaluate(fleet: Fleet) -> list[Finding]:
    """Join what was lost with what connection tracking refused."""
    findings = []
    for (server, _, _), members in _dns.groups(fleet).items():
        for one in members:
            lost, refused = one.lost_pairs, one.refused
            if one.error or not one.asked:
                why = one.error or "no lookup was made"
                findings.append(_probe.not_known(f"{server} could not be asked: {why}", (one.vantage,)))
            elif one.server_down:
                findings.append(_probe.not_known(f"{server} answers no query: none can be told lost", (one.vantage,)))
            elif lost < fleet.threshold("lost"):
                text = f"no answer of a pair was lost in {_say.plural(one.asked, 'lookup')} at {server}"
                findings.append(_probe.fine(text, (one.vantage,), refused=refused))
            elif refused is None:
                text = f"{lost} of {one.asked} lookups at {server} lost an answer; conntrack's counters were not read"
                findings.append(_probe.not_known(text, (one.vantage,)))
            elif refused < lost:
                text = f"answers of {server} are lost, but connection tracking of {one.vantage} refused none of them"
                findings.append(_probe.fine(text, (one.vantage,), lost=lost, refused=refused))
            else:
                findings.append(
                    _probe.failed(
                        fleet,
                        (one.vantage,),
                        f"{lost} of {one.asked} lookups at {server} lost a query to a conntrack clash",
                        evidence=_dns.evidence(one) | {"lost_pairs": lost},
                        reproduce=f"conntrack -S; {_dns.command(one)}; conntrack -S",
                        disproof="insert_failed of `conntrack -S` stands still while a lookup stalls.",
                        advice=(
                            "Put a name server on each node (NodeLocal DNSCache), or set `options "
                            "single-request-reopen` where lookups are made; for pods in dnsConfig."
                        ),
                        cause="the two queries of a lookup clash in connection tracking",
                    )
                )
    return findings
