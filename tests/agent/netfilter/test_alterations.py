"""NAT and MSS rules, and where the messages of path MTU discovery die, of a real kernel in all three back ends."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit_agent.collectors import firewall
from hostaudit_agent.netfilter import paths, xtalter
from hostaudit_agent.netfilter.paths import Match
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hostaudit_agent.snapshot import Firewall

IPTABLES = """\
*nat
:FLANNEL-POSTRTG -
:KUBE-SVC-AAAA -
:KUBE-SEP-AAAA -
-A POSTROUTING -j FLANNEL-POSTRTG
-A POSTROUTING -o eth0 -p tcp -m mark --mark 0x4000/0x4000 -j SNAT --to-source 192.0.2.1-192.0.2.9:1000-2000
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
-A PREROUTING -i eth+ -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080
-A KUBE-SEP-AAAA -p tcp -j DNAT --to-destination 10.244.1.7:53
COMMIT
*mangle
-A FORWARD -o wg0 -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A POSTROUTING -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1360
COMMIT
"""
NATIVE = """\
table inet f {
  chain f { type filter hook forward priority 0
    oifname "wg0" tcp flags syn counter tcp option maxseg size set rt mtu
    tcp flags syn tcp option maxseg size set 1360
    tcp option maxseg size 9 counter
  }
  chain masq_checks { ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 counter masquerade fully-random; }
  chain n { type nat hook postrouting priority 100; iifname vmap { "eth9" : jump masq_checks }
    ip6 saddr fd00::/64 oifname "eth0" snat to fd01::1
  }
}
table ip kube-proxy { chain endpoint-X { meta l4proto tcp dnat to 10.180.0.1:80; }; }
"""


def collect(space: Any) -> Firewall:
    def unread(part: str, reason: str) -> None:
        raise AssertionError(f"{part}: {reason}")

    with space.entered():
        return firewall.collect(Root(), None, unread)


def restore(space: Any, variant: str, rules: str) -> None:
    command = ["ip", "netns", "exec", space.name, f"iptables-{variant}-restore"]
    subprocess.run(command, input=rules, text=True, check=True)


@pytest.mark.lab
@pytest.mark.parametrize("variant", ["legacy", "nft"])
def test_iptables(netns: Callable[[], Any], variant: str) -> None:
    space = netns()
    restore(space, variant, IPTABLES)
    found = collect(space)
    rules = {(r.chain, r.kind): r for r in found.nat}
    assert set(rules) == {("FLANNEL-POSTRTG", "masquerade"), ("POSTROUTING", "snat"), ("PREROUTING", "dnat")}
    masquerade = rules["FLANNEL-POSTRTG", "masquerade"]
    assert (masquerade.source, masquerade.destination) == ("10.244.0.0/16", "! 224.0.0.0/4")
    assert (masquerade.hooks, masquerade.packets, masquerade.marked) == (["postrouting"], 0, False)
    assert masquerade.text in space.run(f"iptables-{variant}-save")
    assert (rules["POSTROUTING", "snat"].marked, rules["POSTROUTING", "snat"].out_interface) == (True, "eth0")
    assert rules["POSTROUTING", "snat"].text.endswith("-j SNAT --to-source 192.0.2.1-192.0.2.9:1000-2000")
    assert rules["PREROUTING", "dnat"].in_interface == "eth+"
    assert [(r.size, r.out_interface, r.hooks) for r in found.mss] == [
        ("pmtu", "wg0", ["forward"]),
        ("1360", "", ["postrouting"]),
    ]
    assert (found.backends_seen, found.kube_proxy) == (2, ["iptables"])


@pytest.mark.lab
def test_nftables(netns: Callable[[], Any]) -> None:
    space = netns()
    space.run("nft", NATIVE)
    found = collect(space)
    assert [(r.kind, r.source, r.destination, r.out_interface, r.hooks) for r in found.nat] == [
        ("masquerade", "10.244.0.0/16", "! 224.0.0.0/4", "", ["postrouting"]),
        ("snat", "fd00::/64", "", "eth0", ["postrouting"]),
    ]
    assert found.nat[0].text == "ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 counter masquerade fully-random"
    assert [(r.size, r.out_interface, r.packets) for r in found.mss] == [("pmtu", "wg0", 0), ("1360", "", None)]
    assert (found.backends_seen, found.kube_proxy) == (1, ["nftables"])


# What iptables is told -> what it does to ICMP type 3 code 4 at INPUT: nothing, or chain, position and narrowing.
FILTERS = {
    "-A INPUT -p icmp -j DROP": ("INPUT", 1, ""),
    "-A INPUT -p icmp -m icmp --icmp-type 3 -j REJECT": ("INPUT", 1, ""),
    "-A INPUT -p icmp -m icmp --icmp-type 8 -j DROP": None,
    "-A INPUT -p icmp -m icmp ! --icmp-type 8 -j DROP": ("INPUT", 1, ""),
    "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -p icmp -j DROP": None,
    "-A INPUT -p icmp -m limit --limit 9/s -j ACCEPT\n-A INPUT -p icmp -j DROP": None,
    "-A INPUT -i eth0 -p icmp -j DROP": ("INPUT", 1, "interface"),
    "-A INPUT -s 192.0.2.0/24 -p icmp -j DROP": None,
    "-A INPUT -i lo -p icmp -j DROP": None,
    "-A INPUT -p icmp -j X\n-A X -p icmp -m icmp --icmp-type 8 -j RETURN\n-A X -j DROP": ("X", 2, ""),
    "-A INPUT ! -p tcp -j DROP": ("INPUT", 1, ""),
    "-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT": ("INPUT", 0, ""),
    "-P INPUT DROP\n-A INPUT -m state --state ESTABLISHED -j ACCEPT\n-A INPUT -s 10.0.0.0/8 -j ACCEPT": (
        "INPUT",
        0,
        "",
    ),
    "-P INPUT DROP\n-A INPUT -i wg0 -j ACCEPT": None,
    "-P INPUT DROP\n-A INPUT -p tcp -j ACCEPT\n-A INPUT -p icmp -m icmp --icmp-type 3/4 -j ACCEPT": None,
    "-P INPUT DROP": None,
}


@pytest.mark.lab
@pytest.mark.parametrize("variant", ["legacy", "nft"])
@pytest.mark.parametrize("rules", FILTERS)
def test_where_icmp_dies_in_iptables(netns: Callable[[], Any], variant: str, rules: str) -> None:
    space = netns()
    lines = [line for line in rules.splitlines() if not line.startswith("-P")]
    policy = "DROP" if "-P INPUT DROP" in rules else "ACCEPT"
    restore(space, variant, "\n".join(["*filter", f":INPUT {policy}", ":X -", *lines, "COMMIT\n"]))
    found = [(drop.chain, drop.index, drop.narrowed) for drop in collect(space).too_big]
    assert found == ([] if FILTERS[rules] is None else [FILTERS[rules]])


NATIVE_FILTERS = {
    "meta l4proto { icmp, ipv6-icmp } drop": ["ip", "ip6"],
    "icmp type destination-unreachable icmp code frag-needed drop": ["ip"],
    "icmp type { echo-request, echo-reply } drop": [],
    "icmpv6 type packet-too-big counter drop": ["ip6"],
    "ct state vmap { established : accept, related : accept, invalid : drop }; meta l4proto icmp drop": [],
    "ct state vmap { established : accept }; iifname lo accept; ip protocol icmp drop; meta l4proto 58 drop": [
        "ip",
        "ip6",
    ],
    "policy drop; ct state established accept; icmp type destination-unreachable accept": ["ip6"],
    "policy drop; iifname { lo, wg0 } accept; tcp dport 22 accept": ["ip", "ip6"],
    "policy drop; ip saddr 10.0.0.0/8 accept": [],
}


@pytest.mark.lab
@pytest.mark.parametrize("rules", NATIVE_FILTERS)
def test_where_icmp_dies_in_nftables(netns: Callable[[], Any], rules: str) -> None:
    space = netns()
    space.run("nft", f"table inet f {{ chain i {{ type filter hook input priority 0; {rules}; }}; }}")
    assert [drop.family for drop in collect(space).too_big] == NATIVE_FILTERS[rules]


@pytest.mark.lab
def test_a_chain_too_long_to_follow_is_unread(netns: Callable[[], Any]) -> None:
    space = netns()
    many = "".join(f"-A INPUT -s 10.{n >> 8}.{n & 255}.1 -j DROP\n" for n in range(paths.MOST_STEPS + 1))
    for variant in ("legacy", "nft"):
        restore(space, variant, f"*filter\n{many}-A INPUT -p icmp -j DROP\nCOMMIT\n")
    said: list[str] = []
    with space.entered():
        assert firewall.collect(Root(), None, lambda part, _: said.append(part)).too_big == []
    assert said == ["iptables-legacy/ip/filter/INPUT.too_big", "nftables/ip/filter/INPUT.too_big"]


@pytest.mark.lab
def test_ten_thousand_rules_of_services_stay_bounded(netns: Callable[[], Any], work: Any) -> None:
    space = netns()
    chains = "".join(f":KUBE-SEP-{n:016d} -\n" for n in range(5000))
    rules = "".join(
        f"-A KUBE-SEP-{n:016d} -s 10.{n >> 8}.{n & 255}.7/32 -j RETURN\n"
        f"-A KUBE-SEP-{n:016d} -p tcp -m tcp -j DNAT --to-destination 10.{n >> 8}.{n & 255}.7:80\n"
        for n in range(5000)
    )
    native = "".join(
        f"chain e{n} {{ ip saddr 10.{n >> 8}.{n & 255}.7 return; "
        f"meta l4proto tcp dnat to 10.{n >> 8}.{n & 255}.7:80; }}\n"
        for n in range(5000)
    )
    for variant, most in (("legacy", 50), ("nft", 500), ("native", 500)):
        if variant == "native":
            command = ["ip", "netns", "exec", space.name, "nft", "-f", "-"]
            subprocess.run(command, input=f"table ip kube-proxy {{ {native} }}\n", text=True, check=True)
        else:
            restore(space, variant, f"*nat\n{chains}{rules}COMMIT\n")
        before = work.calls
        with work.counted():
            found = collect(space)
        assert work.calls - before < most * 10_000
        assert (found.backends_seen, sum(found.backends.values())) == (5000, 10000)
        if variant != "native":
            space.run(f"iptables-{variant}", "-t", "nat", "-F")


# ---- without a kernel


def walked(chains: dict[str, list[Match]], policy: str) -> list[paths.End]:
    def steps(name: str) -> Iterator[Match]:
        return iter(chains[name])

    return paths.ends("base", policy, steps)


def test_a_conditional_return_makes_the_rest_conditional() -> None:
    chains = {
        "base": [Match(("base", 1), "jump", "c")],
        "c": [Match(("c", 1), "return", narrow=(paths.OTHER,)), Match(("c", 2), "drop")],
    }
    assert [(end.place, end.narrow) for end in walked(chains, "accept")] == [(("c", 2), (paths.OTHER,))]


def test_chains_that_jump_to_each_other_end() -> None:
    with pytest.raises(paths.TooLongError):
        walked({"base": [Match(("base", 1), "jump", "base")]}, "accept")


def test_a_target_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="NAT target of 9 bytes"):
        xtalter.Range(bytes(9), "ip")
