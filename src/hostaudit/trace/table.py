"""A trace for people: what failed first, each with its sentence and its picture, then the sensors. Pure."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from hostaudit.trace.picture import lines

if TYPE_CHECKING:
    from hostaudit.trace.document import Trace


def table(trace: Trace, width: int) -> str:
    """Return the trace for people, ``width`` columns wide; pictures are not folded."""
    out = [f"{trace.target} from {trace.vantage}", *textwrap.wrap(trace.summary, width), ""]
    for group, told in trace.told():
        out.append(f"{group.verdict.upper()}  {group.share}")
        out += textwrap.wrap(told, width, initial_indent="  ", subsequent_indent="  ", break_long_words=False)
        if group.next:
            out += textwrap.wrap(f"Next: {group.next}", width, initial_indent="  ", subsequent_indent="  ")
        drawn = lines(group.members[0])
        out += ["", *(f"    {line}" for line in drawn)] if drawn else []
        out.append("")
    out.append("SENSORS")
    names = max((len(node.name) for node in trace.nodes), default=0)
    for name, packets, drops, said in trace.sensors():
        text = f"  {name:<{names}}  {packets} frames, {drops} dropped" if packets != "-" else f"  {name:<{names}}"
        out += textwrap.wrap(f"{text}{'  ' + said if said else ''}", width, subsequent_indent=" " * (names + 4))
    return "".join(f"{line.rstrip()}\n" for line in out)
