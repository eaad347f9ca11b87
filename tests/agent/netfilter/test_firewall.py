from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit_agent.collectors import UnreadableError, firewall
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.snapshot import Firewall, Rule

AGENT = Path(firewall.__file__).parents[2]
COUNTED = re.compile(r"^\[(\d+):(\d+)\] (.*)$")


def collect(space: Any, before: object = None) -> Firewall:
    def unread(part: str, reason: str) -> None:
        raise AssertionError(f"{part}: {reason}")

    with space.entered():
        return firewall.collect(Root(), before, unread)


def sample(space: Any) -> firewall.Sample:
    with space.entered():
        return firewall.sample(Root())


def of(rules: list[Rule], **wanted: str) -> list[Rule]:
    return [rule for rule in rules if all(getattr(rule, key) == value for key, value in wanted.items())]


def saved(space: Any, tool: str) -> dict[str, tuple[int, int]]:
    """Return the rules that iptables-save -c prints, with packets and bytes."""
    lines = (COUNTED.match(line) for line in space.run(tool, "-c").splitlines())
    return {m[3]: (int(m[1]), int(m[2])) for m in lines if m}


@pytest.fixture
def host(netns: Callable[[], Any]) -> Any:
    space = netns()
    space.ip("link set lo up")
    return space


@pytest.mark.lab
@pytest.mark.parametrize("variant", ["legacy", "nft"])
@pytest.mark.parametrize("tool", ["iptables", "ip6tables"])
def test_iptables_counts_dropped_packets(host: Any, syn_ack: Callable[..., None], tool: str, variant: str) -> None:
    command, family = f"{tool}-{variant}", "ip" if tool == "iptables" else "ip6"
    host.run(command, "-N", "PVEFW-FORWARD")
    host.run(command, "-A", "INPUT", "-j", "PVEFW-FORWARD")
    host.run(command, "-A", "PVEFW-FORWARD", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
    with host.entered():
        syn_ack(2, ipv6=family == "ip6")
    before = sample(host)
    host.run(command, "-I", "PVEFW-FORWARD", "-p", "udp", "-j", "ACCEPT")  # our rule is not the first any more
    with host.entered():
        syn_ack(3, ipv6=family == "ip6")
    (rule,) = collect(host, before).invalid
    assert (rule.backend, rule.family, rule.index) == (f"iptables-{variant}", family, 2)
    assert (rule.packets, rule.delta, rule.hooks, rule.narrowed) == (5, 3, ["input"], False)
    assert saved(host, f"{command}-save")[rule.text] == (rule.packets, rule.bytes)
    host.run(command, "-Z", "PVEFW-FORWARD")
    (rule,) = collect(host, before).invalid
    assert (rule.packets, rule.delta) == (0, None)


RULES = """\
-A FORWARD -s 10.0.0.0/8 ! -d 192.0.2.4/32 -i eth+ ! -o lo -p tcp -m conntrack --ctstate INVALID -j DROP
-A FORWARD -p tcp -m tcp --dport 80 -m conntrack ! --ctstate NEW,RELATED,ESTABLISHED -j REJECT --reject-with tcp-reset
-A FORWARD -m conntrack --ctstate INVALID,NEW -m comment --comment "a \\"" -j REJECT --reject-with icmp-net-prohibited
-A FORWARD -m state --state INVALID -m limit --limit 3/min -j DROP
-A FORWARD -m physdev ! --physdev-in tap+ --physdev-is-bridged -m conntrack --ctstate INVALID,UNTRACKED -j DROP
-A FORWARD -m conntrack --ctstate INVALID -g GONE
-A GONE -j DROP
"""


@pytest.mark.lab
@pytest.mark.parametrize("variant", ["legacy", "nft"])
def test_rules_are_shown_as_iptables_save_shows_them(host: Any, variant: str) -> None:
    subprocess.run(
        ["ip", "netns", "exec", host.name, f"iptables-{variant}-restore"],
        input=f"*filter\n:FORWARD ACCEPT\n:GONE -\n{RULES}COMMIT\n", text=True, check=True,
    )  # fmt: skip
    shown = saved(host, f"iptables-{variant}-save")
    found = [rule.text for rule in collect(host).invalid]
    limited = "-m limit --limit 3/min -j DROP"
    opaque = [
        text.replace("--limit 3/min", "...") if variant == "legacy" and limited in text else text for text in shown
    ]
    assert found == [text for text in opaque if "ctstate" in text or "state INVALID" in text]


@pytest.mark.lab
def test_native_rules_are_shown_as_nft_shows_them(host: Any, data: Path) -> None:
    host.run("nft", "-f", str(data / "ruleset.nft"))
    listed = {line.strip() for line in host.run("nft", "-s", "list", "ruleset").splitlines()}
    found = collect(host)
    assert {rule.text for rule in found.invalid + found.notrack} - listed == {
        "ct state & (established | related | new) == 0 drop",  # nft 1.0.6 prints ``ct state ! established,...``
        "ct state vmap { ... }",  # keys of several parts are not decoded
        "ct state < established drop",  # nft prints 0x2
    }


@pytest.mark.lab
def test_native_counters_move(host: Any, syn_ack: Callable[..., None]) -> None:
    host.run("nft", """
        table inet t {
          counter lost { }
          chain in { type filter hook input priority 0; ip6 daddr ::1 ct state invalid counter name lost drop
            ct state vmap { established : accept, invalid : jump bad }
          }
          chain bad { counter drop; }
          chain pre { type filter hook prerouting priority raw; udp dport 9 counter notrack; }
        }""")  # fmt: skip
    before = sample(host)
    with host.entered():
        syn_ack(4)
        syn_ack(2, ipv6=True)
    named, jump = collect(host, before).invalid
    assert (named.packets, named.delta, named.narrowed) == (2, 2, True)
    assert (jump.verdict, jump.packets, jump.bytes, jump.delta) == ("jump bad", 4, 160, 4)
    listed = json.loads(host.run("nft", "-j", "list", "ruleset"))["nftables"]
    (counter,) = [entry["counter"] for entry in listed if "counter" in entry]
    assert (counter["packets"], counter["bytes"]) == (named.packets, named.bytes)


@pytest.mark.lab
def test_both_backends_at_once_and_policies(host: Any) -> None:
    host.run("iptables-legacy", "-P", "FORWARD", "DROP")
    host.run("iptables-legacy", "-t", "raw", "-A", "PREROUTING", "-p", "tcp", "-j", "CT", "--notrack")
    host.run("iptables-nft", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
    found = collect(host)
    assert found.backends == {"iptables-legacy/ip": 1, "iptables-nft/ip": 1}
    assert found.policies["iptables-legacy/ip/filter/FORWARD"] == "drop"
    assert found.policies["iptables-nft/ip/filter/INPUT"] == "accept"
    assert [rule.text for rule in found.notrack] == ["-A PREROUTING -p tcp -j CT --notrack"]


@pytest.mark.lab
def test_an_empty_namespace_has_no_backend_and_gets_none(host: Any) -> None:
    found = collect(host)
    assert (found.invalid, found.notrack, found.backends, found.policies) == ([], [], {}, {})
    assert host.run("cat", "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names") == ""


@pytest.mark.lab
def test_bridges_of_this_namespace(host: Any) -> None:
    host.ip("link add br7 type bridge nf_call_iptables 1", "link add v0 type veth peer name v1")
    found = collect(host)
    assert found.bridges == {"br7": {"nf_call_iptables": 1, "nf_call_ip6tables": 0, "vlan_filtering": 0}}
    value = host.run("cat", "/proc/sys/net/bridge/bridge-nf-call-iptables")
    assert found.bridge_nf_call["iptables"] == int(value)


@pytest.mark.lab
def test_without_rights_the_surface_is_unreadable_not_empty(host: Any) -> None:
    host.run("iptables-legacy", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
    code = (
        "from hostaudit_agent.collectors import firewall\nfrom hostaudit_agent.root import Root\n"
        "try: firewall.collect(Root(), None, print)\nexcept firewall.UnreadableError as error: print(error)"
    )
    # Without capabilities, also as root: the kernel asks for CAP_NET_ADMIN, the file mode for CAP_DAC_OVERRIDE.
    bare = (
        "setpriv",
        "--bounding-set",
        "-all",
        "--inh-caps",
        "-all",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
    )
    said = host.run(*bare, "env", f"PYTHONPATH={AGENT}", _system_python(), "-c", code)
    assert "iptables-legacy/ip: needs root" in said
    assert "nftables: needs CAP_NET_ADMIN" in said


def _system_python() -> str:
    """Return a Python that any user may run: a virtual environment below /root is not."""
    return "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable


def test_a_captured_tree_holds_no_rules(tmp_path: Path) -> None:
    assert firewall.sample(Root(str(tmp_path))).counts == {}
    with pytest.raises(UnreadableError, match="captured tree"):
        firewall.collect(Root(str(tmp_path)), None, lambda *_: None)
