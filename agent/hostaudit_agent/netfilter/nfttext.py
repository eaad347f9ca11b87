"""Shows a rule of nf_tables as ``nft -s list ruleset`` or ``iptables-nft-save`` would, as far as it can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit_agent.netfilter import xtmatch
from hostaudit_agent.netfilter.nftwords import conditions
from hostaudit_agent.netlink import text

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostaudit_agent.netfilter.nftexpr import Expression, Set

OPTIONS = {
    "iifname": "-i", "oifname": "-o", "ip saddr": "-s", "ip daddr": "-d", "ip6 saddr": "-s", "ip6 daddr": "-d",
    "meta l4proto": "-p", "ip protocol": "-p",
}  # fmt: skip


def nft(program: list[Expression], userdata: bytes, find_set: Callable[[str], Set]) -> str:
    """Return the rule in the words of nft, without the numbers of its counters."""
    parts = [f"{what} {operator}{value}".strip() for what, operator, value in conditions(program, find_set)]
    shown = " " + " ".join(parts)
    for implied, what in (("meta nfproto ipv4", "ip"), ("meta nfproto ipv6", "ip6")):
        shown = shown.replace(f" {implied} {what} ", f" {what} ")
    for name in ("tcp", "udp", "sctp"):
        for port in ("sport", "dport"):
            shown = shown.replace(f" meta l4proto {name} th {port} ", f" {name} {port} ")
    comment = _comment(userdata)
    return shown[1:] + (f' comment "{comment}"' if comment else "")


def iptables(chain: str, program: list[Expression], family: str, find_set: Callable[[str], Set]) -> str:
    """Return a rule that iptables-nft made, as iptables-nft-save prints it without counters."""
    options: dict[str, str] = {}
    matches: list[str] = []
    decision = ""
    for what, operator, value in conditions(program, find_set):
        option, sign = OPTIONS.get(what), "! " if operator else ""
        if option and operator in ("", "!= "):
            length = "" if "/" in value or not what.endswith("addr") else "/32" if what.startswith("ip ") else "/128"
            value = value.strip('"').replace("*", "+") if option in ("-i", "-o") else value + length
            options[option] = f"{sign}{option} {value}"
        elif what in ("th sport", "th dport") and operator in ("", "!= ") and "-p" in options:
            matches.append(f"-m {options['-p'].split()[-1]} {sign}--{what[3:]} {value}")
        elif what.startswith("limit rate ") and "over" not in what:
            rate, _, burst = what[len("limit rate ") :].partition(" burst ")
            rate = rate.replace("minute", "min").replace("second", "sec")
            matches.append(f"-m limit --limit {rate}" + (f" --limit-burst {burst.split()[0]}" if burst else ""))
        elif what in ("drop", "accept", "return"):
            decision = f"-j {what.upper()}"
        elif what.startswith(("jump ", "goto ")):
            decision = f"-{'g' if what[0] == 'g' else 'j'} {what[5:]}"
        elif what.startswith("-m "):
            matches.append(what)
        elif what not in ("counter", "target"):
            matches.append("[" + f"{what} {operator}{value}".strip(" []") + "]")
    for expression in program:
        if expression.name == "target":
            decision = xtmatch.target_text(text(expression.data[1]), expression.data.get(3, b""), family)
    ordered = [options[option] for option in ("-s", "-d", "-i", "-o", "-p") if option in options]
    return " ".join(filter(None, [f"-A {chain}", *ordered, *matches, decision]))


def _comment(userdata: bytes) -> str:
    """Return the comment in a rule's user data: type (0 is the comment), length and value, repeated (libnftnl)."""
    at = 0
    while at + 2 <= len(userdata):
        kind, length = userdata[at], userdata[at + 1]
        if kind == 0:
            return text(userdata[at + 2 : at + 2 + length])
        at += 2 + length
    return ""
