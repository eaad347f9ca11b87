"""The way of a connection as text: a line for each host and port, SYN first, then what came back. Pure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hostaudit.trace.document import Trace
    from hostaudit.trace.fates import Judged
    from hostaudit.trace.passages import Hop, Passage

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>hostaudit trace {title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}}
pre{{background:#f5f6f8;padding:1rem;overflow-x:auto;line-height:1.35}}.bad{{color:#b3261e}}.good{{color:#1a6b34}}
table{{border-collapse:collapse}}td,th{{text-align:left;padding:.2rem 1rem .2rem 0;vertical-align:top}}</style></head>
<body><h1>{title}</h1><p>{summary}</p>
{groups}
<h2>Sensors</h2><table><tr><th>host</th><th>frames</th><th>dropped</th><th></th></tr>
{hosts}
</table></body></html>
"""


def lines(one: Judged) -> list[str]:
    """Return the picture of one connection; empty where nothing of it was seen."""
    told: list[str] = []
    for name, ways in (("SYN", one.syn), ("SYN-ACK", one.syn_ack), ("RST", one.reset), ("ACK", one.ack)):
        if name == "ACK" and one.segment not in {"ACK", "reply"}:
            continue
        rows = list(_rows(ways))
        told += [f"{name if number == 0 else '':<8} {row}" for number, row in enumerate(rows)]
    return told


def _rows(ways: Sequence[Passage]) -> Iterator[str]:
    width = max((len(p.host) for p in ways), default=0)
    for passage in ways:
        for hop in passage.hops:
            yield f"{passage.host:<{width}}  {_hop(passage, hop)}"


def _hop(passage: Passage, hop: Hop) -> str:
    start, end = hop.entered or "(itself)", hop.left or ("(itself)" if hop.here else "X")
    said = f"{start} --{'> ' if end != 'X' else ' '}{end}"
    if end == "X":
        said += f"  never left{f', last seen on {hop.inner}' if hop.inner else ''}"
    guests = [passage.node.behind(port) for port in (hop.entered, hop.left) if port and _is_guest(passage, port)]
    if hop.tunnel:
        said += f"  in {hop.tunnel}"
    return said + (f"  {', '.join(guests)}" if guests else "")


def _is_guest(passage: Passage, port: str) -> bool:
    return port in {passage.from_guest, passage.to_guest} or port in passage.node.guests


def page(trace: Trace) -> str:
    """Return the trace as one HTML page without scripts; every word of it that came from a host is escaped."""
    groups = ""
    for group, told in trace.told():
        colour = "good" if group.verdict.ok else "bad"
        drawn = "\n".join(lines(group.members[0]))
        groups += f'<h2 class="{colour}">{escape(group.verdict)}: {escape(group.share)}</h2><p>{escape(told)}</p>\n'
        groups += f"<p>Next: {escape(group.next)}</p>\n" if group.next else ""
        groups += f"<pre>{escape(drawn)}</pre>\n" if drawn else ""
    hosts = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>\n" for row in trace.sensors())
    return _PAGE.format(title=escape(trace.target), summary=escape(trace.summary), groups=groups, hosts=hosts)
