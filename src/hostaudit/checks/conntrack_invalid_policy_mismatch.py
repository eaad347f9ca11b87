"""All hosts that carry the same traffic treat INVALID packets alike.

What it reads
    Of every host of the cohort through which packets can pass: whether a rule on their way drops INVALID, and its
    counter (as ``conntrack-invalid-drop``); ``hostaudit_asymmetric``.

Why it matters
    Whether a connection works then depends on the host that its second half happens to cross. The one hypervisor
    that was forgotten, or joined later, breaks what works on all others; a live migration moves the fault.

Active when
    One of the odd hosts drops so many INVALID packets now that ``conntrack-invalid-drop`` is active there, judged by
    this check's own ``active_packets`` and ``noise_share``.

How it is remedied
    Where an asymmetric path is declared, the hosts that drop are the wrong ones, however many they are; on Proxmox
    role ``pve_firewall`` sets ``nf_conntrack_allow_invalid`` there. Where nothing is declared the minority is named
    and nothing is proposed: either policy can be the intended one. Fewer than three hosts, or no clear majority,
    say nothing.

Fix safety
    As for ``conntrack-invalid-drop``. Change all hosts in one run: half a fix turns failed connects into connections
    that hang.

References
    https://pve.proxmox.com/wiki/Firewall
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _invalid, _loosen, cohort_check
from hostaudit.cohort import SMALLEST, norm
from hostaudit.model import Finding, Grade, Severity, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.checks import View
    from hostaudit.checks._invalid import Drops


@cohort_check(
    reads=("firewall", "link", "sysctl"),
    severity=Severity.MEDIUM,
    thresholds={"active_packets": 3, "noise_share": 0.01},
)
def evaluate(views: Sequence[View]) -> list[Finding]:
    """Compare the policy of the hosts through which packets can pass."""
    known: dict[str, tuple[View, Drops]] = {}
    unsure = []
    for view in views:
        if not _invalid.paths(view.snapshot):
            continue
        drops = _invalid.examine(view.snapshot)
        if not drops.met and view.unread("firewall."):
            unsure.append(view.host.name)
        else:
            known[view.host.name] = (view, drops)
    findings = []
    if unsure:
        reason = "whether they drop INVALID could not be told: part of their rules was not read"
        findings.append(Finding(Status.UNKNOWN, reason, hosts=tuple(unsure)))
    policies = {name: bool(drops.met) for name, (_, drops) in known.items()}
    usual = norm(policies)
    if usual is None or len(known) < SMALLEST:
        return findings
    if len(set(policies.values())) == 1:
        verb = "drop" if usual else "accept"
        summary = f"all {len(known)} hosts {verb} INVALID packets that pass through them"
        return [*findings, Finding(Status.PASS, summary, hosts=tuple(known))]
    return [*findings, _mismatch(known, policies, usual=usual)]


def _mismatch(known: dict[str, tuple[View, Drops]], policies: dict[str, bool], *, usual: bool) -> Finding:
    declared = {name: view.host.asymmetric for name, (view, _) in known.items() if view.host.asymmetric}
    droppers = [name for name, drops in policies.items() if drops]
    odd = droppers if declared else [name for name, drops in policies.items() if drops is not usual]
    active = [name for name in odd if policies[name] and _invalid.dropping(*known[name])]
    view, drops = known[droppers[0]]
    verb = "drop" if policies[odd[0]] else "accept"
    summary = f"{len(odd)} of {len(known)} hosts {verb} INVALID packets, the others do not: {odd[0]}"
    remedies = [_loosen.remedy(*known[name]) for name in odd] if declared else [None]
    return view.fail(
        Grade.ACTIVE if active else Grade.RISK,
        summary if len(odd) == 1 else f"{summary}, ...",
        severity=Severity.HIGH if declared or active else Severity.LOW,
        evidence={
            "drop": droppers,
            "accept": [name for name, drops in policies.items() if not drops],
            "dropping_now": active,
            "declared": declared,
        },
        reproduce=_loosen.commands(view, drops),
        disproof="The rule is there on all of these hosts, or on none, when the command is run on each of them.",
        owner=_loosen.owner(drops.met[0]),
        remedy=remedies[0] if all(remedies) else None,
        advice=_loosen.advice(view, drops, certain=bool(declared), fleet=known),
        cause="hosts of one cohort treat INVALID packets differently",
        hosts=tuple(odd),
    )
