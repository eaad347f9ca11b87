"""This host does not try every name with all its search domains first.

What it reads
    /etc/resolv.conf of the host: ``ndots``, the search domains, the name servers.

Why it matters
    A name with fewer dots than ``ndots`` is asked for with each search domain before it is asked for as it stands.
    Kubernetes gives pods ndots 5 and three to six domains, so that ``api.example.com`` costs four to seven queries for
    each address family: more load, more entries of connection tracking, more chances to lose one and wait five
    seconds. On a host such a file is a copy that nobody wanted.

Active when
    Never: what the queries cost is measured, not read. It is a risk from ``ndots`` dots on, with ``domains`` search
    domains. What pods resolve with is in files of their own and is not read.

How it is remedied
    ``options ndots:1`` in the file's owner: systemd-resolved, NetworkManager, resolvconf, DHCP or Proxmox VE. A dot at
    the end of a name makes it absolute. For pods: ``dnsConfig`` of the pod.

Fix safety
    Short names with dots in them, such as ``db.prod``, that only a search domain completes are then asked for as they
    stand first; they still resolve, one query later.

References
    https://man7.org/linux/man-pages/man5/resolv.conf.5.html
    https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import check, not_applicable, passed
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding


@check(reads=("resolver",), severity=Severity.LOW, thresholds={"ndots": 5, "domains": 1})
def evaluate(view: View) -> Finding:
    """Count the queries that one name costs."""
    found = view.snapshot.resolver
    assert found is not None  # noqa: S101 - reads
    if view.netns:
        return not_applicable("the file is the host's, not the namespace's")
    if not found.present:
        return not_applicable("this host has no /etc/resolv.conf")
    queries = 1 + (len(found.search) if found.ndots > 2 else 0)
    evidence = {
        "ndots": found.ndots,
        "search": found.search[:16],
        "nameservers": found.nameservers[:16],
        "queries_for_a_name_with_two_dots": queries,
        "ignored_nameservers": found.nameservers[3:16],
    }
    if found.ndots < view.threshold("ndots") or len(found.search) < view.threshold("domains"):
        return passed(f"ndots is {found.ndots}, with {len(found.search)} search domains", **evidence)
    return view.fail(
        Grade.RISK,
        f"ndots is {found.ndots}: a name such as api.example.com costs {queries} queries",
        evidence=evidence,
        reproduce="cat /etc/resolv.conf; time getent hosts api.example.com; time getent hosts api.example.com.",
        disproof="Both take equally long, and the name server sees one query for each.",
        advice=(
            "Set `options ndots:1` where the file comes from (`head -n 3 /etc/resolv.conf` mostly says who writes "
            "it), or end names with a dot."
        ),
        cause="many search domains are tried first",
    )
