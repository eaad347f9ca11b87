"""Every check on the cases of its folder, and on healthy hosts of many kinds.

``<check>/*.toml`` holds ``[[case]]`` tables: ``name``; ``host`` (a file of ``hosts/``, by default debian12);
``snapshot``, merged over that host; ``variables`` of the inventory; ``policy`` (thresholds of this check); ``peers``, a
list of the same; ``probes``, what probes saw; ``expect``. TOML has no null: "<none>" stands for it, and "<empty>" for
an empty table that replaces. A knob given as text runs that value and can be set.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

import hostaudit.checks
from hostaudit.checks import all_checks
from hostaudit.evaluate import evaluate
from hostaudit.model import Collected, Finding, Grade, Host, Status
from hostaudit.policy import Policy
from hostaudit.probed import Probes
from hostaudit_agent.snapshot import (
    SURFACES,
    Assignment,
    Counters,
    Knob,
    MssRule,
    Namespace,
    NatRule,
    Rule,
    Snapshot,
    TooBigDrop,
)

HERE = Path(__file__).parent
CHECKS = Path(hostaudit.checks.__file__).parent
HOSTS = sorted(path.stem for path in (HERE / "hosts").glob("*.toml"))
CASES = [
    pytest.param(path.parent.name, case, id=f"{path.parent.name}: {case['name']}")
    for path in sorted(HERE.glob("*/*.toml"))
    if path.parent.name != "hosts"
    for case in tomllib.loads(path.read_text(encoding="utf-8"))["case"]
]
KEYS = {"name", "host", "snapshot", "variables", "policy", "peers", "probes", "expect"}
EXPECT = {
    *("status", "grade", "severity", "summary", "advice", "evidence", "without", "owner", "remedy", "reproduce"),
    *("hosts", "netns", "alternatives"),
}
WIDTH = 78
"""A summary and its indentation fit a terminal of 80 columns."""


@cache
def _load(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def merged(base: Any, over: Any) -> Any:
    if over == "<empty>":
        return {}
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: merged(base.get(key), value) for key, value in over.items()}}


def host(name: str) -> dict[str, Any]:
    given = _load(HERE / "hosts" / f"{name}.toml")
    below = host(given["extends"]) if "extends" in given else {}
    found: dict[str, Any] = merged(below, {key: value for key, value in given.items() if key != "extends"})
    return found


def _filled(value: Any) -> Any:
    """Put null, named rules and short knobs in their place."""
    if isinstance(value, list):
        return [_filled(item) for item in value]
    if not isinstance(value, dict):
        return None if value == "<none>" else value
    if "rule" in value:
        value = {**_load(HERE / "rules.toml")[value["rule"]], **{k: v for k, v in value.items() if k != "rule"}}
    knobs = value.get("knobs", {})
    short = {k: {"running": v, "writable": True} if isinstance(v, str) else v for k, v in knobs.items()}
    return {key: _filled(item) for key, item in ({**value, "knobs": short} if knobs else value).items()}


def _no_stranger(given: Any, decoded: Any, place: str) -> None:
    """msgspec ignores keys that a dataclass does not have; in a case they are a mistake."""
    if isinstance(given, dict):
        for key, value in given.items():
            assert key in decoded, f"{place}.{key} is not in the snapshot"
            _no_stranger(value, decoded[key], f"{place}.{key}")
    elif isinstance(given, list):
        for number, (one, other) in enumerate(zip(given, decoded, strict=True)):
            _no_stranger(one, other, f"{place}[{number}]")


def collected(name: str, given: dict[str, Any]) -> Collected:
    raw = _filled(merged(host(given.get("host", "debian12")), given.get("snapshot", {})))
    snapshot = msgspec.convert(raw, Snapshot)
    _no_stranger(raw, msgspec.to_builtins(snapshot), "snapshot")
    return Collected(Host(name, ("group",), given.get("variables", {})), snapshot, 0.1)


def judge(check: str, case: dict[str, Any]) -> list[Finding]:
    hosts = [collected("h1", case)]
    hosts += [collected(peer["name"], peer) for peer in case.get("peers", [])]
    policy = Policy({check: case.get("policy", {})})
    probes = msgspec.convert(_filled(case["probes"]), Probes) if "probes" in case else None
    return evaluate(hosts, policy, {check: all_checks()[check]}, probes)


def texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.parametrize(("check", "case"), CASES)
def test_case(check: str, case: dict[str, Any]) -> None:
    expect = case["expect"]
    assert set(case) <= KEYS, set(case) - KEYS
    assert set(expect) <= EXPECT, set(expect) - EXPECT
    findings = judge(check, case)
    for finding in findings:
        sound(finding)
    if expect["status"] == "silent":
        assert findings == []
        return
    where = expect.get("netns", "")
    mine = [f for f in findings if (f.host == "h1" or f.hosts) and f.netns == where]
    found = next((f for f in mine if f.status == expect["status"]), None)
    assert found is not None, mine
    for name in ("grade", "severity", "owner"):
        assert name not in expect or getattr(found, name) == expect[name], found
    for name in ("summary", "advice", "reproduce"):
        for text in texts(expect.get(name, [])):
            assert text in getattr(found, name)
    evidence = json.dumps(found.evidence)
    for text in texts(expect.get("evidence", [])):
        assert text in evidence
    for text in texts(expect.get("without", [])):
        assert text not in evidence + found.summary + found.advice
    for text in texts(expect.get("alternatives", [])):
        assert any(text in f"{way.name}: {way.how} {way.cost}" for way in found.alternatives), found.alternatives
    if "hosts" in expect:
        assert list(found.hosts) == expect["hosts"]
    if expect.get("remedy") is False:
        assert found.remedy is None
    elif "remedy" in expect:
        assert found.remedy is not None
        assert {"role": found.remedy.role, **found.remedy.vars} == expect["remedy"]


def sound(finding: Finding) -> None:
    """What holds for every finding, whatever the case."""
    json.dumps(finding.evidence, allow_nan=False)
    assert finding.summary
    assert "\n" not in finding.summary
    failed = finding.status is Status.FAIL
    assert (finding.grade is not None) == failed
    if not failed:
        assert finding.remedy is None
        return
    assert len(finding.summary) <= WIDTH, finding.summary
    for text in (finding.reproduce, finding.disproof, finding.advice, finding.cause):
        assert text.strip()
    assert finding.evidence
    assert not re.search(r"\b\d+\b", finding.cause), "hosts with one cause differ in numbers"
    syntax = subprocess.run(["sh", "-n", "-c", finding.reproduce], capture_output=True, text=True, check=False)
    assert syntax.returncode == 0, f"{finding.reproduce}: {syntax.stderr}"


@pytest.mark.parametrize("name", HOSTS)
def test_a_healthy_host_has_no_findings(name: str) -> None:
    findings = evaluate([collected(f"h{n}", {"host": name}) for n in (1, 2, 3)], Policy())
    assert [f.summary for f in findings if f.status is Status.FAIL] == []
    assert {f.check for f in findings} == {c.id for c in all_checks().values() if "probes" not in c.reads} - (
        {"conntrack-invalid-policy-mismatch"} if silent(name) else set()
    )


AGED = 7_000_000_000
"""What a counter may show after 400 days."""
COUNTED = re.compile(r'"((?:Tcp|TcpExt|Ip6?|Icmp6?|Udp6?|softnet)\.\w+|rx_\w+|tx_\w+|qdisc\.drops)"')


@pytest.mark.parametrize("name", HOSTS)
def test_four_hundred_days_of_counters_are_no_fault(name: str) -> None:
    """Every counter that a check names is large, as are those of rules and of connection tracking; none moves."""
    sources = "".join(path.read_text(encoding="utf-8") for path in CHECKS.glob("*.py"))
    names = set(COUNTED.findall(sources))
    assert {"TcpExt.ListenOverflows", "Tcp.RetransSegs", "Ip.FragFails", "rx_missed_errors", "qdisc.drops"} <= names
    one = collected("h1", {"host": name})
    shot = one.snapshot
    assert shot.platform is not None
    shot.platform.uptime = 400 * 86400.0
    shot.counters = Counters({key: AGED for key in names if key[0].isupper() or key.startswith("softnet")}, {})
    if shot.device is not None:
        for device in shot.device.devices:
            device.totals = {key: AGED for key in names if not key[0].isupper() and not key.startswith("softnet")}
            device.delta = {}
    if shot.conntrack is not None:
        shot.conntrack.stats = dict.fromkeys(shot.conntrack.stats, AGED)
        shot.conntrack.delta = dict.fromkeys(shot.conntrack.delta or {}, 0)
    if shot.firewall is not None:
        rules: list[Rule | NatRule | MssRule | TooBigDrop] = [*shot.firewall.invalid, *shot.firewall.nat]
        rules += [*shot.firewall.mss, *shot.firewall.too_big]
        for rule in rules:
            rule.packets, rule.delta = AGED, 0
    findings = evaluate([one], Policy())
    assert [(f.check, f.summary) for f in findings if f.status is Status.FAIL] == []


def silent(name: str) -> bool:
    """Through these hosts no packet passes, so there is nothing to compare."""
    return name in {"debian11", "debian12", "debian13", "tracking", "lxc", "noroot"}


@pytest.mark.parametrize("name", HOSTS)
def test_one_sample_never_makes_active(name: str) -> None:
    one = collected("h1", {"host": name, "variables": {"hostaudit_asymmetric": "DSR", "hostaudit_role": "router"}})
    one.snapshot.interval = 0.0
    for surface in (one.snapshot.conntrack, one.snapshot.counters):
        if surface is not None:
            surface.delta = None
    for rule in one.snapshot.firewall.invalid if one.snapshot.firewall else []:
        rule.delta = None
    assert [f for f in evaluate([one], Policy()) if f.grade is Grade.ACTIVE] == []


def test_nothing_read_is_unknown_and_never_a_pass() -> None:
    empty = Snapshot(agent="0", taken=0.0, interval=0.0, privileged=False)
    findings = evaluate([Collected(Host("h1"), empty, 0.1)], Policy())
    assert {f.status for f in findings} == {Status.UNKNOWN}
    assert {f.check for f in findings} == {
        c.id for c in all_checks().values() if c.cohort is None and "probes" not in c.reads
    }


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("name", ["pve9", "kube", "laptop"])
def test_a_surface_less_makes_nothing_worse(name: str, surface: str) -> None:
    """Also as a peer: a check may not fall over what another host could not read."""
    whole, less = collected("h1", {"host": name}), collected("h2", {"host": name})
    setattr(less.snapshot, surface, None)
    findings = evaluate([whole, less, collected("h3", {"host": name})], Policy())
    assert [f.summary for f in findings if f.status is Status.FAIL] == []
    needs = {c.id for c in all_checks().values() if surface in c.reads and c.host is not None}
    assert needs <= {f.check for f in findings if f.host == "h2" and f.status is Status.UNKNOWN}


@pytest.mark.parametrize("trick", ["$(:>{})", "`:>{}`", ";:>{};", "';:>{};'", "\n:>{}\n"])
def test_names_from_a_host_stay_names_in_commands(tmp_path: Path, trick: str) -> None:
    """Each command is run by a shell that knows none of its tools: whatever a name smuggles in would show."""
    mark = tmp_path / "ran"
    bad = "x" + trick.format(mark)  # redirections, since no program is found
    one = collected("h1", {"host": "laptop", "variables": {"hostaudit_asymmetric": "x"}})
    assert one.snapshot.sysctl is not None
    assert one.snapshot.link is not None
    wlan, tunnel = one.snapshot.link.links[2], one.snapshot.link.links[4]
    wlan.name, tunnel.name, tunnel.underlay, tunnel.mtu = bad, f"{bad}wg", bad, 9000
    one.snapshot.sysctl.effective["rp_filter"][bad] = 1
    knob = Knob("1", writable=True, configured=Assignment("0", "/etc/sysctl.d/x.conf", 1))
    one.snapshot.sysctl.knobs[f"net.{bad}"] = knob
    two = collected("h2", {"host": "router", "variables": {"hostaudit_asymmetric": "x"}})
    assert two.snapshot.firewall is not None
    for rule in two.snapshot.firewall.invalid:
        rule.chain = rule.table = bad
    space = Namespace(f"netns {bad}", counters=Counters({"TcpExt.ListenOverflows": 9}, {"TcpExt.ListenOverflows": 9}))
    space.firewall, space.link, space.sysctl = two.snapshot.firewall, two.snapshot.link, two.snapshot.sysctl
    two.snapshot.namespaces = [space]
    failed = [f for f in evaluate([one, two], Policy()) if f.status is Status.FAIL]
    assert {f.check for f in failed} >= {
        *("conntrack-invalid-drop", "rp-filter-strict", "sysctl-drift", "listen-queue-overflow", "mtu-tunnel-overhead"),
    }
    assert {f.check for f in failed if f.netns} == {"conntrack-invalid-drop", "listen-queue-overflow"}
    for finding in failed:
        subprocess.run(["/bin/sh", "-c", finding.reproduce], env={"PATH": ""}, capture_output=True, check=False)
    assert not mark.exists()
