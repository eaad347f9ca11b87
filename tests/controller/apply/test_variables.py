from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hostaudit.apply import variables
from hostaudit.apply.worker import told

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hostaudit.model import PlannedChange

PLAY = """\
- hosts: all
  gather_facts: false
  connection: local
  tasks:
    - ansible.builtin.copy: {dest: "OUT/{{ inventory_hostname }}", content: "{{ sizes | to_json }} {{ name }}"}
      delegate_to: localhost
"""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (True, "true"),
        (None, "null"),
        ("a", '!unsafe "a"'),
        (["a", 1], '[!unsafe "a", 1]'),
        ({"k": {"n": "v"}}, '{"k": {"n": !unsafe "v"}}'),
        ('"; {{ x }}\n#', '!unsafe "\\"; {{ x }}\\n#"'),
    ],
)
def test_values_become_yaml_whose_strings_are_never_templated(value: object, text: str) -> None:
    assert variables.unsafe(value) == text


def test_ansible_gives_each_host_its_own_values_and_runs_no_template(
    tmp_path: Path, planned: Callable[..., PlannedChange]
) -> None:
    evil = "{{ lookup('ansible.builtin.pipe', 'touch OUT/pwned') }}".replace("OUT", str(tmp_path))
    changes = [planned("a", vars={"sizes": {"n": 1}, "name": evil}), planned("b", vars={"sizes": [2], "name": "x"})]
    given = variables.of_play(changes)
    (tmp_path / "vars.yml").write_text("".join(f"{k}: {v}\n" for k, v in given.items()))
    (tmp_path / "play.yml").write_text(PLAY.replace("OUT", str(tmp_path)))
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "a,b,", "-e", f"@{tmp_path}/vars.yml"]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(tmp_path)}
    subprocess.run([*command, f"{tmp_path}/play.yml"], check=True, env=environment, capture_output=True)
    assert (tmp_path / "a").read_text() == f"{json.dumps({'n': 1})} {evil}"
    assert (tmp_path / "b").read_text() == "[2] x"
    assert not (tmp_path / "pwned").exists()


def test_hosts_whose_variables_differ_in_name_are_played_apart(planned: Callable[..., PlannedChange]) -> None:
    changes = [planned("a", vars={"x": 1}), planned("b", vars={"y": 1}), planned("c", vars={"x": 2})]
    assert [[c.host for c in group] for group in variables.alike(changes)] == [["a", "c"], ["b"]]


def test_an_event_says_what_changed_and_why_it_failed() -> None:
    diff = {"before": "", "after": "x = 1\n", "after_header": "/etc/x"}
    res = {"changed": True, "results": [{"changed": True, "diff": diff, "_ansible_item_label": "/etc/x"}]}
    event = {"event": "runner_on_ok", "event_data": {"host": "h", "task": "t", "role": "r", "res": res}}
    found = told(event)
    assert found is not None
    assert (found["status"], found["diff"]) == ("changed", "/etc/x\n- \n+ x = 1")
    ignored = {"event": "runner_on_failed", "event_data": {"ignore_errors": True, "res": {}}}
    assert told(ignored) is None
    assert told({"event": "playbook_on_start"}) is None
