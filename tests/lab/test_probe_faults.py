"""Faults that packets show, side by side in one audit from c1: each is named, and passes once it is mended.

w1 is a proxy with a certificate for each of four names, and its own for any other. A second address of shop.example is
that of w2, which serves nothing. w1 and w2 take turns as owners of a shared address. c1 translates the address of its
name server to w1 or w2, as the rules of a Service do, and the source of what goes to w2 to one port, which is taken.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from labkit import hosts, inventory
from labkit.audit import Audit, run_hostaudit, write_inventory
from labkit.certificates import SERVER as PROXY
from labkit.certificates import Authority
from labkit.nameserver import RACE, SERVER
from labkit.servers import listening
from labkit.settings import NET

NAMES = ("c1", "w1", "w2")
VIP, RESOLVER = f"{NET}.200", f"{NET}.53"
WHOLE, SHORT, OLD, SOON, LOST = (f"{name}.example" for name in ("shop", "short", "old", "soon", "lost"))
PAIRS = 3
"""Lookups whose two queries race, of ten."""
CHECKS = (
    "vip-arp-flap",
    "dns-round-robin-partial",
    "dns-conntrack-race",
    "tls-chain-incomplete",
    "tls-default-certificate",
    "tls-certificate-expiry",
)
TURNS = """\
ip addr add {vip}/32 dev eth0
nft add table arp lab
nft 'add chain arp lab in {{ type filter hook input priority 0; }}'
nft add rule arp lab in arp saddr ip 0.0.0.0 arp daddr ip {vip} numgen inc mod 2 == {n} drop
"""
TRANSLATED = """\
to="-d {resolver} -p udp --dport 53"
iptables-legacy -t mangle -A OUTPUT $to -j NFQUEUE --queue-num 0
iptables-legacy -t nat -A OUTPUT $to -m mark --mark 2 -j DNAT --to-destination {w2}
iptables-legacy -t nat -A OUTPUT $to -j DNAT --to-destination {w1}
iptables-legacy -t nat -A POSTROUTING -d {w2} -p udp --dport 53 -j SNAT --to-source {c1}:4053
conntrack -I -p udp -s {c1} -d {w2} --sport 4053 --dport 53 --timeout 900 2>/dev/null
"""


@dataclass
class Told:
    """What an audit said with the faults, and when they were mended."""

    faulty: Audit
    mended: Audit
    resolved: int
    """Clashes that the kernel of c1 resolved in the second one."""

    def failure(self, check: str, about: str = "") -> dict[str, Any]:
        """The one failure of a check, whose summary holds a word."""
        found = [f for f in self.faulty.failures(check) if about in f["summary"]]
        assert len(found) == 1, [f for f in self.faulty.document["findings"] if f["check"] == check]
        return found[0]


def resolved_clashes() -> int:
    words = hosts.run("c1", "conntrack", "-S").split()
    return sum(int(word.partition("=")[2]) for word in words if word.startswith("clash_resolve="))


def install(certificates: dict[str, str]) -> tuple[str, ...]:
    """Give w1 and w2 these certificates; return their names."""
    for host in ("w1", "w2"):
        for name, pem in certificates.items():
            hosts.run(host, "tee", f"/srv/{name}.pem", input=pem)
    return tuple(certificates)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("faults")
    authority = Authority(folder)
    with hosts.up({name: hosts.Spec("ns:bookworm") for name in NAMES}), ExitStack() as servers:
        at = {name: inventory.load()[name]["address"] for name in NAMES}
        names = "".join(f"{at['w1']} {name}\n" for name in (WHOLE, SHORT, OLD, SOON, LOST)) + f"{at['w2']} {WHOLE}\n"
        (folder / "hosts").write_text(names)
        source = declared(folder)
        with_names = ("unshare", "--mount", "sh", "-c", f'mount --bind {folder}/hosts /etc/hosts; exec "$@"', "sh")

        def audit() -> Audit:
            words = ("--probe", "--probe-from", "c1", "--show", "pass")
            return run_hostaudit(source, *words, limit=240, inside=with_names)

        prepare(at, authority.root)
        for name in ("w1", "w2"):
            servers.enter_context(listening(name, SERVER, ""))
        good = {WHOLE: authority.server(WHOLE)}
        bad = {
            SHORT: authority.server(SHORT, whole=False),
            OLD: authority.server(OLD, days=-1),
            SOON: authority.server(SOON, days=10),
            "default": authority.own("TRAEFIK DEFAULT CERT"),
        }
        with listening("w1", PROXY, *install(good | bad)), listening("c1", RACE, str(PAIRS)):
            faulty = audit()

        hosts.script("w2", f"ip addr del {VIP}/32 dev eth0")
        hosts.script("w1", "nft delete table arp lab")
        hosts.script("c1", "iptables-legacy -t nat -F POSTROUTING")
        every = install(bad | {name: authority.server(name) for name in (WHOLE, SHORT, OLD, SOON, LOST)})
        before = resolved_clashes()
        with listening("w1", PROXY, *every), listening("w2", PROXY, *every), listening("c1", RACE, str(PAIRS)):
            mended = audit()
        yield Told(faulty, mended, resolved_clashes() - before)


def prepare(at: dict[str, str], root: str) -> None:
    """Make the faults that are rules of the hosts, whose addresses are ``at``; let c1 trust a root (PEM text)."""
    hosts.run("c1", "tee", "/usr/lib/ssl/cert.pem", input=root)
    # the stall of five seconds is the resolver's own: here it waits for one
    hosts.script("c1", "rm -f /etc/resolv.conf; echo 'options timeout:1 attempts:2' >/etc/resolv.conf")
    hosts.script("c1", TRANSLATED.format(resolver=RESOLVER, **at))
    for number, name in enumerate(("w1", "w2")):
        hosts.script(name, TURNS.format(vip=VIP, n=number))


def declared(folder: Path) -> Path:
    """Write the inventory."""
    variables = {
        "hostaudit_probes": ",".join(f"{name}:443" for name in (WHOLE, SHORT, OLD, SOON, LOST)),
        "hostaudit_vips": VIP,
        "hostaudit_dns": f"{{'{RESOLVER}': '{WHOLE}'}}",
    }
    return write_inventory(folder / "inventory.ini", NAMES, {"w1": variables})


@pytest.mark.parametrize("check", CHECKS)
def test_what_is_mended_passes(told: Told, check: str) -> None:
    statuses = [f["status"] for f in told.mended.document["findings"] if f["check"] == check]
    assert set(statuses) == {"pass"}, [f for f in told.mended.document["findings"] if f["check"] == check]


def test_two_owners_that_take_turns(told: Told) -> None:
    found = told.failure("vip-arp-flap")
    assert (found["grade"], found["hosts"]) == ("active", ["c1"])
    assert found["summary"] == f"{VIP} changed its owner 2 times while it was watched"
    assert set(found["evidence"]["known"].values()) == {"w1 eth0", "w2 eth0"}
    assert told.faulty.failures("vip-arp-duplicate") == [], "there is one at a time"


def test_one_of_two_addresses_of_a_name(told: Told) -> None:
    found = told.failure("dns-round-robin-partial")
    assert (found["grade"], found["severity"]) == ("active", "high")
    dead = inventory_address("w2", found)
    assert found["evidence"]["dead"] == [dead]
    assert found["summary"] == f"1 of 2 addresses of {WHOLE}:443 do not answer"
    assert told.failure("vip-handshake-failing")["summary"].endswith("refused")


def inventory_address(name: str, found: dict[str, Any]) -> str:
    """The address of a host, which is one of those that were tried."""
    address = str(inventory.load()[name]["address"])
    assert address in found["evidence"]["addresses"]
    return address


def test_two_queries_of_a_lookup_that_clash(told: Told) -> None:
    found = told.failure("dns-conntrack-race")
    assert found["grade"] == "active"
    assert found["summary"] == f"{PAIRS} of 10 lookups at {RESOLVER} lost a query to a conntrack clash"
    assert found["evidence"]["refused_by_conntrack"] == PAIRS
    assert sum(waited >= 1000 for waited in found["evidence"]["lookup_ms"]) == PAIRS, "the stall, here of one second"
    told.failure("dns-latency")


def test_a_race_that_the_kernel_resolves_is_no_fault(told: Told) -> None:
    assert told.resolved >= PAIRS, "the two queries clashed again (and others by chance), and both were let through"
    assert told.mended.failures("dns-conntrack-race") == []
    assert told.mended.failures("dns-latency") == []


def test_a_chain_without_the_intermediate(told: Told) -> None:
    found = told.failure("tls-chain-incomplete")
    assert found["summary"] == f"{SHORT}:443 does not send the certificate of its issuer"
    assert "'Lab Intermediate' is missing" in found["advice"]
    assert found["evidence"]["certificates"] == 1


def test_the_certificate_of_the_proxy_itself(told: Told) -> None:
    found = told.failure("tls-default-certificate")
    assert found["summary"] == f"{LOST} answers with a proxy's default certificate"
    assert found["evidence"]["subject"] == "TRAEFIK DEFAULT CERT"


def test_certificates_that_ended_and_that_will(told: Told) -> None:
    over, soon = told.failure("tls-certificate-expiry", "expired"), told.failure("tls-certificate-expiry", "ends in")
    assert (over["grade"], over["severity"], over["evidence"]["asked_for"]) == ("active", "high", OLD)
    assert (soon["grade"], soon["severity"], soon["evidence"]["asked_for"]) == ("risk", "medium", SOON)
