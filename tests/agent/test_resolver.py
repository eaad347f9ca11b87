"""resolv.conf, as resolv.conf(5) says that it is read."""

from pathlib import Path

from hostaudit_agent.collectors import resolver
from hostaudit_agent.root import Root

FULL = """\
# a comment
; another
domain first.example
search ns.svc.cluster.local svc.cluster.local cluster.local.
nameserver 10.96.0.10
nameserver\t2001:db8::53
options ndots:5 timeout:1
options rotate
sortlist 10.0.0.0
nameserver
"""


def test_the_last_search_counts_and_options_add_up() -> None:
    found = resolver.parse(FULL)
    assert found.search == ["ns.svc.cluster.local", "svc.cluster.local", "cluster.local"]
    assert found.nameservers == ["10.96.0.10", "2001:db8::53"]
    assert (found.ndots, found.options) == (5, ["timeout:1", "rotate"])


def test_bad_and_large_numbers() -> None:
    assert resolver.parse("options ndots:99\n").ndots == 15
    assert resolver.parse("options ndots:x\n").ndots == 1
    assert resolver.parse("search a b\ndomain c d\n").search == ["c"]


def test_no_file(tmp_path: Path) -> None:
    assert not resolver.collect(Root(str(tmp_path)), None, lambda _p, _w: None).present
