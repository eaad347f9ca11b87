"""Runs to report: forty hosts in trouble of several kinds, everything beside a run, and hosts that mean harm."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from hostaudit.causes import causes
from hostaudit.evaluate import counts
from hostaudit.model import (
    Alternative,
    Finding,
    Grade,
    HostReport,
    MappedGuest,
    MappedNic,
    Remedy,
    Run,
    Severity,
    Status,
    Waived,
)
from hostaudit.report.page.context import Context, Drifted, Event, Hop, Point, Probed, Series, Traced

START = datetime(2026, 3, 5, 4, 0, tzinfo=UTC)
SEEN = "iptables-legacy -t filter -nvxL PVEFW-FORWARD; sleep 5; iptables-legacy -t filter -nvxL PVEFW-FORWARD"
HOSTILE = [
    "</script><script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=1">',
    "</style><style>*{display:none}</style>",
    "{{ 7*7 }}{% raw %}",
    "evil\u202egnp.exe\u2066\u200b\x00\x1b[31m\x07",
    "line\nbreak | pipe\r\n\\backslash \"quote\" 'single' `tick`",
    "]]><!-- --><![CDATA[&amp;&#x0;",
    "[click](javascript:alert(1)) ![x](http://192.0.2.1/x.png) @all <b>bold</b>",
    "name-" + "x" * 10_000,
    "\ufffe\uffff\U0001f525",
]


def finding(check, host, status=Status.FAIL, summary="it is so", **more):
    values = {
        "grade": Grade.RISK if status is Status.FAIL else None,
        "severity": Severity.MEDIUM,
        "check": check,
        "host": host,
    }
    return Finding(status, summary, **{**values, **more})


def run_of(findings, hosts, **more):
    waived = more.get("waived", ())
    ended = START + timedelta(seconds=9)
    return Run(
        "20260305T040000Z-5f2c1e",
        f"{START:%Y-%m-%dT%H:%M:%SZ}",
        f"{ended:%Y-%m-%dT%H:%M:%SZ}",
        "0.1.0",
        tuple(hosts),
        tuple(findings),
        {**counts(findings), "waived": len(waived)},
        causes=causes(findings),
        **more,
    )


def _invalid(host, moved):
    rule = "iptables-legacy ip filter PVEFW-FORWARD 1: -A PVEFW-FORWARD -m conntrack --ctstate INVALID -j DROP"
    active = moved > 0
    return finding(
        "conntrack-invalid-drop",
        host,
        summary=f"PVEFW-FORWARD dropped {moved} INVALID packets in 4 s"
        if active
        else "PVEFW-FORWARD drops INVALID, and hyp2 does so right now",
        grade=Grade.ACTIVE if active else Grade.RISK,
        severity=Severity.HIGH if active else Severity.MEDIUM,
        evidence={
            "rules": [
                {"rule": rule, "packets": 8000 + moved, "delta": moved, "owner": "pve-firewall"},
                {"rule": rule.replace(" ip ", " ip6 "), "packets": 0, "delta": 0, "owner": "pve-firewall"},
            ],
            "shown": [
                {
                    "dropped_by": "hyp2",
                    "waiting_on": "hyp1",
                    "handshakes": [f"10.0.0.10:{p}>10.0.0.100:8080" for p in range(40001, 40017, 2)],
                }
            ],
            "ways": ["bridged"],
            "seconds": 4.0,
        },
        reproduce=SEEN,
        disproof="The rule's counter stands still while a client that times out tries again.",
        owner="pve-firewall",
        remedy=Remedy("pve_firewall", {"pve_firewall_options": {"nf_conntrack_allow_invalid": 1}}),
        advice="Set nf_conntrack_allow_invalid to 1 in host.fw of both hypervisors: `pvesh set /nodes/$(hostname -s)"
        "/firewall/options --nf_conntrack_allow_invalid 1`. It is live within 10 s.\n"
        "Half a fix turns 'connect fails' into 'connects, then hangs'.",
        alternatives=(
            Alternative("NOTRACK for the address", "iptables -t raw -A PREROUTING -d VIP -j CT --notrack", "No state."),
            Alternative("SNAT instead of DSR", "Cilium: loadBalancer.mode=snat", "Backends lose the client's address."),
        ),
    )


def _table_full(host, used):
    return finding(
        "conntrack-table-full",
        host,
        summary=f"{used:,} of 65,536 entries in use; 214 flows were dropped in 4 s",
        grade=Grade.ACTIVE,
        severity=Severity.HIGH,
        evidence={"count": used, "max": 65536, "drop": 214, "early_drop": 90},
        reproduce="sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max; conntrack -S",
        disproof="`drop` in `conntrack -S` stands still.",
        advice="Raise the limit and the hash with it.",
        remedy=Remedy("conntrack_table", {"conntrack_table_max": 262144}),
    )


def forty():
    names = [
        "hyp1",
        "hyp2",
        *[f"web{n:02}" for n in range(1, 25)],
        *[f"db{n:02}" for n in range(1, 13)],
        "edge1",
        "edge2",
    ]
    hosts = [HostReport(n, "ok", "", "6.18.44", "Debian GNU/Linux 12 (bookworm)", 4.2) for n in names]
    hosts[0] = HostReport("hyp1", "ok", "", "6.8.12-9-pve", "Proxmox VE 8.4.1", 4.6)
    hosts[1] = HostReport("hyp2", "ok", "", "6.8.12-9-pve", "Proxmox VE 8.4.1", 4.4)
    hosts[30] = HostReport("db05", "unreachable", "no answer within 10 s from 10.0.3.5, port 22: packets are dropped")
    hosts[33] = HostReport("db08", "partial", "firewall: needs CAP_NET_ADMIN", "6.1.0-31", "Debian GNU/Linux 12", 3.9)
    cause = {"cause": "rp"}
    found = [
        _invalid("hyp2", 72),
        _invalid("hyp1", 0),
        _table_full("edge1", 65411),
        finding(
            "conntrack-timeout-long",
            "edge1",
            summary="41,200 entries are ESTABLISHED flows idle for more than a day",
            evidence={"established": 41200, "timeout": 432000},
            advice="Shorten nf_conntrack_tcp_timeout_established to a day.",
        ),
        *[
            finding(
                "rp-filter-strict",
                f"web{n:02}",
                summary="rp_filter is strict on eth1, and 10.1.0.0/16 comes in there",
                severity=Severity.HIGH,
                evidence={"interface": "eth1", "effective": 1},
                reproduce="nstat -az TcpExtIPReversePathFilter; sleep 5; nstat TcpExtIPReversePathFilter",
                disproof="The counter stands still while the sender tries again.",
                advice="Set `net.ipv4.conf.eth1.rp_filter` to 2.",
                **cause,
            )
            for n in range(3, 20)
        ],
        finding("mtu-tunnel-overhead", "db02", summary="vxlan0 has MTU 1500, and so has eth0 below it"),
        finding(
            "sysctl-drift",
            "db11",
            summary="net.core.somaxconn runs with 128, 4096 is configured",
            severity=Severity.LOW,
        ),
        *[
            finding(c, "db08", Status.UNKNOWN, "firewall was not read: needs CAP_NET_ADMIN")
            for c in ("bridge-nf-call-off", "conntrack-invalid-drop")
        ],
        *[finding("ip-forward-disabled", h.name, Status.PASS, "it forwards") for h in hosts if h.status == "ok"],
    ]
    waived = Waived(
        finding("fleet-outlier", "edge2", summary="differs from edge1 in 3 settings", severity=Severity.LOW),
        "the old firewall is replaced in April",
        "2026-04-30",
        "hostaudit.toml:12",
    )
    guest = MappedGuest(
        "hyp1",
        101,
        "qemu",
        "web01",
        True,
        (MappedNic("net0", "bc:24:11:00:00:01", "vmbr0", 20, True, port="tap101i0"),),
        host="web01",
        by="MAC address",
        vips=("10.0.0.100",),
    )
    return run_of(found, sorted(hosts, key=lambda h: h.name), waived=(waived,), guests=(guest,))


def points(values, step=timedelta(minutes=5), start=START - timedelta(hours=6)):
    return tuple(Point(f"{start + n * step:%Y-%m-%dT%H:%M:%SZ}", v) for n, v in enumerate(values))


def everything():
    """What may stand beside the run: the fix at 02:05, and the counter that goes flat."""
    drops = [None if n == 20 else round(18 + 5 * math.sin(n / 3) + n % 3, 1) if n < 49 else 0.0 for n in range(72)]
    use = [min(99.8, 38 + n * 0.9 + 4 * math.sin(n / 4)) for n in range(72)]
    fixed = START - timedelta(hours=1, minutes=55)
    return Context(
        series=(
            Series("hyp2", "INVALID dropped", "packets/s", points(drops)),
            Series("edge1", "conntrack use", "%", points(use), 100),
            Series("web03", "conntrack use", "%", points([12 + n % 5 for n in range(72)]), 100),
            Series("web04", "reverse path drops", "packets/s", points([0.0] * 40 + [3.2, 9.0, 4.1] + [0.0] * 29)),
        ),
        events=(
            Event(
                f"{START - timedelta(hours=4, minutes=20):%Y-%m-%dT%H:%M:%SZ}",
                "db11 came up with another boot id",
                "reboot",
                ("db11",),
            ),
            Event(
                f"{fixed:%Y-%m-%dT%H:%M:%SZ}",
                "pve_firewall: host.fw nf_conntrack_allow_invalid 0 -> 1",
                "change",
                ("hyp1", "hyp2"),
                "by alex@admin1, OPS-7: replies take the other path",
                "c4f2a9d0",
            ),
            Event(
                f"{START - timedelta(minutes=40):%Y-%m-%dT%H:%M:%SZ}",
                "net.core.somaxconn 4096 -> 128, between two runs",
                "unrecorded",
                ("db11",),
                "root logged in from 10.0.9.4 at 03:12",
            ),
        ),
        drift=(
            Drifted(
                "db11",
                "net.core.somaxconn",
                "configured",
                "4096",
                "128",
                "2026-03-05T04:00:00Z",
                "not recorded",
                "/etc/sysctl.d/90-db.conf:3",
                "sysctl --system, or hostaudit baseline accept db11",
            ),
            Drifted(
                "web07",
                "net.ipv4.conf.all.rp_filter",
                "cohort",
                "2 on 23 of 24",
                "1",
                "2026-03-04T04:00:00Z",
                "package procps 4.0.2 at 2026-03-03",
                "/usr/lib/sysctl.d/50-default.conf:12",
                "role reverse_path",
            ),
        ),
        probes=(
            Probed("this host", "10.0.0.100:8080", "path-dependent", "+-" * 60, "odd source ports fail"),
            Probed("this host", "10.0.0.101:443", "ok", "+" * 120, "p95 3 ms"),
            Probed("web01", "10.0.0.100:8080", "ok", "+" * 120, "p95 1 ms"),
            Probed("web01", "10.0.0.101:443", "down", "-" * 120, "connection refused"),
            Probed("db01", "10.0.0.101:443", "inconclusive", "", "the host did not answer"),
        ),
        traces=(
            Traced(
                "10.0.0.10, odd ports > 10.0.0.100:8080",
                "dropped in hyp2",
                "The SYN-ACK entered hyp2 from VM 203's port and never left: PVEFW-FORWARD drops INVALID, 10 of 10 odd "
                "ports; 10 of 10 even ones passed.",
                (
                    Hop("hyp1", "uplink eno1", "SYN", True),
                    Hop("hyp1", "tap101i0", "SYN", True, "to web01 (VM 101)"),
                    Hop("web02", "eth0", "SYN", None, "inside VXLAN"),
                    Hop("hyp2", "tap203i0", "SYN-ACK", True, "from web02 (VM 203)"),
                    Hop("hyp2", "uplink eno1", "SYN-ACK", False, "PVEFW-FORWARD counted 10 INVALID"),
                ),
            ),
        ),
    )


def hostile():
    """A run in which every text that can come from a host means harm."""
    hosts = [HostReport(n, "partial", n, n, n, 1.0) for n in HOSTILE]
    hosts += [HostReport(f"gone {n}", "unreachable", n) for n in HOSTILE]
    found = []
    for n, name in enumerate(HOSTILE):
        found.append(
            finding(
                "conntrack-invalid-drop",
                name,
                summary=f"{n}: {name}",
                grade=Grade.ACTIVE if n % 2 else Grade.RISK,
                evidence={"rules": [{name: name, "rule": name}], name: name, "list": [name]},
                reproduce=name,
                disproof=name,
                owner=name,
                advice=f"{name}\n`{name}`",
                remedy=Remedy("role", {"v": name}),
                alternatives=(Alternative(name, name, name),),
                netns=name if n % 3 == 0 else "",
            )
        )
        found.append(finding("ip-forward-disabled", name, Status.UNKNOWN, name))
    waived = Waived(finding("fleet-outlier", "", hosts=tuple(HOSTILE)), HOSTILE[0], "2026-04-30", HOSTILE[1])
    guests = tuple(MappedGuest(n, 1, n, n, True, (MappedNic(n, n, n),), host=n, by=n, vips=(n,)) for n in HOSTILE)
    return run_of(found, hosts, waived=(waived,), guests=guests, notices=tuple(HOSTILE))


def hostile_context():
    bad = HOSTILE
    return Context(
        series=tuple(Series(n, n, n, points([1.0, None, -3.0, float(i)])) for i, n in enumerate(bad)),
        events=tuple(
            Event(n if i else "2026-03-04T22:05:00Z", n, n, (n,) if i else (), n, n) for i, n in enumerate(bad)
        ),
        drift=tuple(Drifted(n, n, n, n, n, n, n, n, n) for n in bad),
        probes=tuple(Probed(n, n, n, n[:300], n) for n in bad),
        traces=tuple(Traced(n, n, n, (Hop(n, n, n, False, n), Hop(n, n, n, None, n))) for n in bad),
    )
