from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from hostaudit import inventory, login
from hostaudit.errors import InventoryError
from hostaudit.inventory import variables
from hostaudit.model import Host

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def cron(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run everything as cron would: no ansible in PATH, no locale, no configuration."""
    for name in list(os.environ):
        if name.startswith(("ANSIBLE_", "LC_", "LANG")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def write(path: Path, text: str, mode: int = 0o644) -> str:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def names(hosts: list[Host]) -> list[str]:
    return [h.name for h in hosts]


def test_without_a_source_it_is_this_machine() -> None:
    assert inventory.load([]) == [Host(os.uname().nodename, (), {"ansible_connection": "local"})]
    with pytest.raises(InventoryError, match="--limit"):
        inventory.load([], "web*")


def test_ini_with_ranges_groups_and_variables_beside_it(tmp_path: Path) -> None:
    file = write(
        tmp_path / "inv" / "hosts.ini",
        "lone\n[web]\nw[1:2] ansible_port=2222\n[db]\nd1\n[site:children]\nweb\ndb\n[web:vars]\nansible_user=bob\n",
    )
    write(tmp_path / "inv" / "group_vars" / "site.yml", "hostaudit_cohort: site\n")
    write(tmp_path / "inv" / "host_vars" / "w2.yml", "ansible_host: 10.0.0.2\n")
    hosts = {h.name: h for h in inventory.load([file])}
    assert hosts["w1"] == Host(
        "w1", ("site", "web"), {"ansible_port": 2222, "ansible_user": "bob", "hostaudit_cohort": "site"}
    )
    assert hosts["w2"].variables["ansible_host"] == "10.0.0.2"
    assert hosts["d1"].groups == ("db", "site")
    assert hosts["lone"] == Host("lone")


def test_several_sources_of_every_kind(tmp_path: Path) -> None:
    yaml = write(
        tmp_path / "hosts.yml", "all:\n  children:\n    k8s:\n      hosts:\n        n1: {ansible_host: 10.0.0.1}\n"
    )
    directory = tmp_path / "d"
    write(directory / "a.ini", "[a]\na1\n")
    write(directory / "README.md", "not an inventory\n")
    answer = {"dyn": {"hosts": ["s1"]}, "_meta": {"hostvars": {"s1": {"ansible_user": "x"}}}}
    script = write(tmp_path / "dyn.sh", f"#!/bin/sh\necho '{json.dumps(answer)}'\n", 0o755)
    hosts = inventory.load([yaml, str(directory), script, "h1,h2,"], extra_vars=["ansible_port=2200"])
    assert sorted(names(hosts)) == ["a1", "h1", "h2", "n1", "s1"]
    assert {h.variables["ansible_port"] for h in hosts} == {"2200"}
    assert next(h for h in hosts if h.name == "s1").variables["ansible_user"] == "x"


def test_limit_is_ansible_s_and_a_part_that_matches_nothing_is_told(tmp_path: Path) -> None:
    file = write(tmp_path / "hosts", "[web]\nw[1:3]\n[db]\nd1\n")
    assert names(inventory.load([file], "web:!w2")) == ["w1", "w3"]
    said: list[str] = []
    assert names(inventory.load([file], "w1,typo", notice=said.append)) == ["w1"]
    assert any("typo" in s for s in said)
    with pytest.raises(InventoryError, match="matches --limit 'nosuch'"):
        inventory.load([file], "nosuch")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[web\n", "Failed to parse inventory with 'ini' plugin"),
        ("", "names no host"),
        ("[web:vars]\na=1\n", "undefined group"),
    ],
)
def test_what_cannot_be_read_is_an_error_though_ansible_only_warns(tmp_path: Path, text: str, says: str) -> None:
    bad = write(tmp_path / "bad", text)
    with pytest.raises(InventoryError, match=says) as caught:
        inventory.load([bad])
    assert str(tmp_path / "bad") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_bad_source_among_good_ones_is_not_passed_over(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good", "h1\n"), write(tmp_path / "bad.yml", "all: [\n")
    with pytest.raises(InventoryError, match=r"bad\.yml"):
        inventory.load([good, bad])


def test_a_missing_source_says_what_may_stand_there() -> None:
    with pytest.raises(InventoryError, match="does not exist; give a file"):
        inventory.load(["nope.ini"])


def test_templates_are_resolved_one_by_one(tmp_path: Path) -> None:
    file = write(
        tmp_path / "hosts",
        "[all:vars]\nansible_host={{ inventory_hostname }}.example.com\nansible_become_password={{ secret }}\n"
        "[good]\ng1 secret=geheim\n[bad]\nb1\n",
    )
    good, bad = inventory.load([file])
    assert good.variables["ansible_host"] == "g1.example.com"
    assert good.variables["ansible_become_password"] == "geheim"
    assert login.UNRESOLVED not in good.variables
    assert bad.variables["ansible_host"] == "b1.example.com"
    assert bad.variables[login.UNRESOLVED] == {"ansible_become_password": "'secret' is undefined"}


def test_a_broken_template_costs_none_of_those_that_are_resolved_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variables, "PART", 3)
    file = write(
        tmp_path / "hosts", "[all:vars]\nansible_host={{ address }}\n[some]\nh[0:7] address=10.0.0.1\n[bad]\nb1\n"
    )
    hosts = inventory.load([file])
    assert [h.variables["ansible_host"] for h in hosts] == ["10.0.0.1"] * 8 + ["{{ address }}"]
    assert [h.name for h in hosts if login.UNRESOLVED in h.variables] == ["b1"]


def test_passwords_do_not_reach_the_log_that_ansible_cfg_asks_for(tmp_path: Path) -> None:
    log = tmp_path / "ansible.log"
    write(tmp_path / "ansible.cfg", f"[defaults]\nlog_path={log}\n")
    file = write(tmp_path / "hosts", "h1 ansible_password='{{ pw }}' pw=geheim\n")
    assert inventory.load([file])[0].variables["ansible_password"] == "geheim"
    assert not log.exists()


def test_ansible_cfg_is_honoured(tmp_path: Path) -> None:
    assert inventory.configured() == login.Flags()
    write(
        tmp_path / "ansible.cfg",
        "[defaults]\nremote_user=ops\nprivate_key_file=~/k\nhost_key_checking=False\ntimeout=7\n"
        "[ssh_connection]\nssh_common_args=-J bast\n[privilege_escalation]\nbecome=True\n",
    )
    hosts, flags = inventory.read([write(tmp_path / "hosts", "h1\n")])
    assert names(hosts) == ["h1"]
    assert flags == login.Flags(
        user="ops",
        private_key=str(tmp_path / "k"),
        ssh_common_args="-J bast",
        host_key_checking=False,
        timeout=7,
        become=True,
    )


def test_a_directory_that_is_gone_does_not_matter(tmp_path: Path) -> None:
    file = write(tmp_path / "hosts", "h1\n")
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert names(inventory.load([file])) == ["h1"]


def test_marks_of_unsafe_text_are_taken_off() -> None:
    document = {"_meta": {"hostvars": {"h": {"a": {"__ansible_unsafe": "x"}, "b": [{"__ansible_unsafe": "y"}]}}}}
    hosts = inventory.parse({**document, "all": {"children": ["g"]}, "g": {"hosts": ["h"]}})
    assert hosts == [Host("h", ("g",), {"a": "x", "b": ["y"]})]
