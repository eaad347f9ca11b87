"""The bundle's dataclasses beside the standard library's: the same objects, for every class of the snapshot."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit import bundle
from hostaudit_agent import records, small, snapshot

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = [kind for kind in vars(snapshot).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)]


def again(kind: Any) -> Any:
    """Return the same class, made by ``small``."""
    names = {name: kind.__annotations__[name] for name in kind.__annotations__}
    body: dict[str, Any] = {"__annotations__": names}
    for one in dataclasses.fields(kind):
        if one.default_factory is not dataclasses.MISSING:
            body[one.name] = small.field(default_factory=one.default_factory)
        elif one.default is not dataclasses.MISSING:
            body[one.name] = one.default
    return small.dataclass(type(kind.__name__, (), body))


def test_here_the_real_ones_are_used() -> None:
    assert records.dataclass is dataclasses.dataclass
    assert len(CLASSES) > 50


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_the_same_objects_come_of_it(kind: Any) -> None:
    copy = again(kind)
    fields = dataclasses.fields(kind)
    assert [one.name for one in small.fields(copy)] == [one.name for one in fields]
    needed = [n for n, one in enumerate(fields) if one.default is one.default_factory is dataclasses.MISSING]
    assert vars(copy(*needed)) == vars(kind(*needed))
    every = {one.name: f"value of {one.name}" for one in fields}
    assert vars(copy(**every)) == vars(kind(**every))
    assert copy(**every) == copy(**every)
    assert repr(copy(**every)) == repr(kind(**every))
    with pytest.raises(TypeError):
        copy(**every, more=1)
    if needed:
        with pytest.raises(TypeError):
            copy()


def test_what_is_made_anew_is_nobody_elses() -> None:
    kind = again(snapshot.Link)
    one, other = (kind(name="eth0", index=2, mtu=1500, up=True) for _ in range(2))
    one.addresses.append("10.0.0.1/24")
    assert other.addresses == []
    assert one != other
    changed = small.replace(one, mtu=1450)
    assert (changed.mtu, changed.addresses, one.mtu) == (1450, ["10.0.0.1/24"], 1500)
    assert one != "eth0"
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_bases_come_first() -> None:
    base = small.dataclass(type("Base", (), {"__annotations__": {"first": "int"}}))
    derived: Any = small.dataclass(type("Derived", (base,), {"__annotations__": {"second": "int"}, "second": 2}))
    assert vars(derived(1)) == {"first": 1, "second": 2}
    assert vars(base(3)) == {"first": 3}


def test_the_bundle_does_without_the_library(tmp_path: Path) -> None:
    """What it spares is ``inspect`` and all that this imports."""
    agent = tmp_path / "agent.pyz"
    agent.write_bytes(bundle.build())
    command = [sys.executable, "-I", "-S", "-X", "importtime", str(agent), "--interval=0"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    imported = {line.rpartition("|")[2].strip() for line in said.splitlines()}
    assert "hostaudit_agent.small" in imported
    assert not {"dataclasses", "inspect", "dis", "argparse"} & imported
