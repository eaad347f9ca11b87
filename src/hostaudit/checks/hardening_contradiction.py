"""No file of the host sets what its container network cannot work with.

What it reads
    The lines of all sysctl files in the order in which they are applied at boot, the programs of this host that need
    another value, the files that those programs left, and ``TcpExt.IPReversePathFilter``.

Why it matters
    Hardening guides (CIS, dev-sec, Lynis, STIG) are written for hosts that do not route: ``rp_filter = 1``,
    ``ip_forward = 0``. Cilium, Calico, kube-proxy and Docker set the opposite when they start. Whoever ran last wins,
    so that the node works until its next boot, the next ``sysctl --system``, or the next run of the hardening role;
    then pods lose their network, and nobody changed anything. The kernel applies the larger rp_filter of conf.all and
    the interface: a file that sets 0 for ``cilium_*`` is no help against a file that sets 1 for ``all``.

Active when
    The reverse path filter dropped ``active_packets`` or more between the samples while the contradicting value runs.
    Else it is a risk: medium while the program's value runs, high where the file's value runs already. A line that a
    later file overrides is no finding, nor are lines of packages, but where said otherwise below.

How it is remedied
    Take the line out of the file, or give it the value that is needed: an exception in the hardening role, by host
    group, so that its next run does not bring it back. Both files are named; hostaudit does not choose between them.
    Calico is the odd one: its agent refuses loose mode (2), which Debian 13 and Proxmox VE set by a package's file.

Fix safety
    Write the single key; ``sysctl --system`` would apply all other contradictions as well.

References
    https://github.com/cilium/cilium/issues/20072
    https://github.com/projectcalico/felix/issues/2082
    https://github.com/dev-sec/ansible-collection-hardening/tree/master/roles/os_hardening
    https://github.com/spectrocloud/CanvOS/issues/257
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _needs, _say, check, not_applicable, passed
from hostaudit.model import Grade, Severity

if TYPE_CHECKING:
    from hostaudit.checks import View
    from hostaudit.model import Finding

_COUNTER = "TcpExt.IPReversePathFilter"


@check(reads=("sysctl", "platform", "counters"), severity=Severity.MEDIUM, thresholds={"active_packets": 1})
def evaluate(view: View) -> Finding:
    """Hold the files against the programs."""
    sysctl, platform, counters = view.snapshot.sysctl, view.snapshot.platform, view.snapshot.counters
    assert sysctl is not None  # noqa: S101 - reads
    assert platform is not None  # noqa: S101 - reads
    assert counters is not None  # noqa: S101 - reads
    if view.netns:
        return not_applicable("the files are applied in the host's first namespace")
    here = {one.name: one for one in platform.owners}
    if not _needs.PROGRAMS & set(here):
        return not_applicable("no container network is known on this host")
    rows = list(_needs.contradictions(sysctl, here))
    if not rows:
        return passed("no file contradicts the container network", programs=sorted(here))
    first = next((row for row in rows if row["runs"]), rows[0])
    dropped = (counters.delta or {}).get(_COUNTER, 0)
    eaten = any(row["runs"] and row["key"] == _needs.RP_FILTER for row in rows)
    active = eaten and dropped >= view.threshold("active_packets")
    short, file = first["key"].rpartition(".")[2], first["file"].rpartition("/")[2].rpartition(":")[0]
    return view.fail(
        Grade.ACTIVE if active else Grade.RISK,
        f"{file[:26]} sets {short[:22]} {first['value'][:2]}, and {first['program']} needs {first['wanted']}"[:78],
        severity=Severity.HIGH if active or first["runs"] else None,
        evidence={"contradictions": rows, "dropped": dropped if counters.delta is not None else None},
        reproduce=f"grep -rn {_say.quote(short)} /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d; "
        f"sysctl {_say.quote(first['key'])}",
        disproof="After a reboot the program's value runs, and pods reach each other over two nodes.",
        owner=first["program"],
        advice=" ".join(
            f"{row['file']} sets {row['key']} to {row['value']}; {row['program']} ({row['needed_by']}) needs "
            f"{row['wanted']}: {row['why']}. Take the line out, and make an exception in the role that writes it."
            for row in rows
        ),
        cause=f"a file contradicts {first['program']}: {short}",
    )
