from __future__ import annotations

from hostaudit_agent.netfilter.chains import Fates, Graph, Step


def test_fates() -> None:
    chains = {
        "drop": [Step(conditional=False, verdict="drop")],
        "log and drop": [Step(True, "continue"), Step(True, "drop"), Step(False, "jump", "drop")],
        "some return": [Step(True, "return"), Step(False, "drop")],
        "some accepted": [Step(True, "accept"), Step(False, "drop")],
        "empty": [],
        "after empty": [Step(False, "jump", "empty"), Step(False, "reject")],
        "goto empty": [Step(False, "goto", "empty"), Step(False, "drop")],
        "maybe goto": [Step(True, "goto", "some return"), Step(False, "drop")],
        "circle": [Step(False, "jump", "circle")],
        "unknown": [Step(False, "TARPIT")],
    }
    fates = Fates(lambda name: chains[name])
    assert {name: fates.of(name) for name in chains} == {
        "drop": "drops",
        "log and drop": "drops",
        "some return": "passes",
        "some accepted": "leaks",
        "empty": "passes",
        "after empty": "drops",
        "goto empty": "passes",
        "maybe goto": "passes",
        "circle": "leaks",
        "unknown": "leaks",
    }


def test_a_deep_ladder_of_chains_is_looked_at_once_each() -> None:
    asked: list[str] = []

    def steps(name: str) -> list[Step]:
        asked.append(name)
        return [Step(True, "jump", str(int(name) + 1))] * 9

    Fates(steps).of("0")
    assert len(asked) == len(set(asked)) < 40


def test_hooks_through_a_circle() -> None:
    graph = Graph()
    graph.base("FORWARD", "forward")
    graph.base("INPUT", "input")
    for source, target in (("FORWARD", "a"), ("a", "b"), ("b", "a"), ("INPUT", "b")):
        graph.edge(source, target)
    assert graph.hooks("a") == ["forward", "input"]
    assert graph.hooks("lonely") == []
