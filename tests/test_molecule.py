"""Every role has its scenario, and no scenario can leave a step out."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ROLES = sorted(p.name for p in (ROOT / "playbooks/roles").iterdir())
SHARED = yaml.safe_load((ROOT / ".config/molecule/config.yml").read_text())


@pytest.mark.parametrize("role", ROLES)
def test_role_has_a_scenario_of_its_name(role):
    scenario = ROOT / "molecule" / role
    assert {p.name for p in scenario.iterdir()} >= {"molecule.yml", "vars.yml", "verify.yml"}
    plays = yaml.safe_load((scenario / "verify.yml").read_text())
    assert all(play.get("hosts", "all") == "all" for play in plays), "on every host"
    own = yaml.safe_load((scenario / "molecule.yml").read_text()) or {}
    assert "scenario" not in own, "the sequence is the same for all"


def test_sequence_is_whole():
    steps = SHARED["scenario"]["test_sequence"]
    judged = ["check", "converge", "check", "idempotence", "verify", "side_effect", "verify ../shared/judge.yml"]
    assert steps == ["syntax", "create", *judged, "destroy"]
    # Molecule passes over a step whose playbook is not there
    for name in SHARED["ansible"]["playbooks"].values():
        assert (ROOT / "molecule/default" / name).resolve().exists()
