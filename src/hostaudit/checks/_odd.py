"""Where single hosts of a cohort differ from the majority. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hostaudit.checks import _alike
from hostaudit.cohort import odd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.checks import View


class Difference(NamedTuple):
    """One fact in which a host is not like the others."""

    path: str
    """``sysctl.knobs.net.core.somaxconn.running``; ``firewall.invalid[...]`` for a rule."""
    here: str
    others: str


def differences(views: Sequence[View], share: float) -> dict[str, list[Difference]]:
    """Return host -> its differences; at most ``share`` of the hosts (one at least) differ in one fact."""
    found: dict[str, list[Difference]] = {}
    facts = {view.host.name: _alike.flat(view) for view in views}
    sizes = {view.host.name: _alike.size(view) for view in views}
    other_size = odd(sizes, 1)
    groups: dict[str, list[list[str]]] = {}
    for path in sorted(set().union(*facts.values())):
        surface = path.partition(".")[0].partition("[")[0]
        if surface not in groups:
            groups[surface] = _alike.groups(views, path)
        for group in groups[surface]:
            column = [facts[name].get(path, _alike.ABSENT) for name in group]
            if column.count(column[0]) == len(column):
                continue  # as of nearly all facts
            values = dict(zip(group, column, strict=True))
            different = odd(values, share)
            if different is None:
                continue
            usual, names = different
            for name in names:
                if not (other_size and name in other_size[1] and _alike.SIZED.fullmatch(path)):
                    found.setdefault(name, []).append(Difference(path, values[name], usual))
    return _without_own(found, max(1, len(views) * share))


def _without_own(found: dict[str, list[Difference]], most: float) -> dict[str, list[Difference]]:
    """Leave out what each of many hosts has for itself in one list: names there belong to hosts by nature."""
    own: dict[str, set[str]] = {}
    for name, all_ in found.items():
        for one in all_:
            if one.others == _alike.ABSENT:
                own.setdefault(one.path.partition("[")[0], set()).add(name)
    many = {path for path, names in own.items() if len(names) > most}
    kept = {
        name: [d for d in all_ if d.others != _alike.ABSENT or d.path.partition("[")[0] not in many]
        for name, all_ in found.items()
    }
    return {name: all_ for name, all_ in kept.items() if all_}
