"""Somebody without hostaudit installs the collection from git into an empty directory, and uses it from there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from labkit import hosts
from labkit.collection import Project, example, installed, variables
from labkit.hosts import Spec

NAME = "b12"
KEYS = ("net/core/somaxconn", "net/ipv4/tcp_max_syn_backlog")
BACKLOG = {"tcp_backlog_somaxconn": 16384, "tcp_backlog_max_syn_backlog": 8192}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with hosts.up({NAME: Spec("boot:bookworm", groups=("nodes",))}):
        yield installed(tmp_path_factory.mktemp("user"))


def values() -> list[str]:
    return [hosts.run(NAME, "cat", f"/proc/sys/{key}").strip() for key in KEYS]


def test_ten_lines_of_playbook_change_a_host_and_confirm_it(project: Project) -> None:
    text = example("yaml", "- hosts: nodes")
    assert len(text.splitlines()) <= 12
    assert yaml.safe_load(text)[0]["vars"] == {"guard_change": "ticket-4711"}
    book = project.place / "site.yml"
    before = values()
    try:
        book.write_text(text)
        played = project.play("site.yml", *variables(BACKLOG))
        assert played.roles(NAME) == {"sysctl"}
        assert values() == ["16384", "8192"]
        again = project.play("site.yml", *variables(BACKLOG | {"guard_change": "ticket-4711-again"}))
        assert again.changed == {}
        assert hosts.run(NAME, "ls", "/var/lib/hostaudit/changes").split() == ["ticket-4711"], "no change, no record"
    finally:
        book.unlink()
    project.play("hostaudit.remediation.rollback", *variables({"hostaudit_change": "ticket-4711"}))
    assert values() == before


def test_its_playbooks_need_no_file_at_all(project: Project) -> None:
    before = values()
    given = variables({"hostaudit_roles": ["tcp_backlog"], "hostaudit_change": "c1", **BACKLOG})
    check = project.play("hostaudit.remediation.remediate", "--check", "--diff", *given)
    assert check.roles(NAME) == {"sysctl"}
    assert "+net.core.somaxconn = 16384" in check.text
    assert values() == before
    done = project.play("hostaudit.remediation.remediate", *given)
    assert done.changed == check.changed
    assert values() == ["16384", "8192"]
    project.play("hostaudit.remediation.rollback", *variables({"hostaudit_change": "c1"}))
    assert values() == before
    assert not list(project.place.iterdir())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tcp_backlog_somaxconn": "many"}, "tcp_backlog_somaxconn"),
        ({"hostaudit_roles": ["tcp_backlogs"]}, "hostaudit_roles must be a list of these roles"),
        ({"hostaudit_roles": ["mss_clamp"], "mss_clamp_interfaces": ["wg0"], "mss_clamp_backend": "ipfw"}, "ipfw"),
    ],
)
def test_a_wrong_variable_is_named_and_nothing_is_changed(
    project: Project, given: dict[str, object], words: str
) -> None:
    before = values()
    asked = variables({"hostaudit_roles": ["tcp_backlog"], **given})
    played = project.play("hostaudit.remediation.remediate", *asked, check=False)
    assert played.code == 2
    assert words in " ".join(played.text.split())
    assert played.changed == {}
    assert values() == before
    assert not hosts.script(NAME, "ls /var/lib/hostaudit/guard 2>/dev/null || :"), "no guard is left"


def test_the_collection_holds_what_it_needs_and_no_more(project: Project) -> None:
    place = project.home / "collections/ansible_collections/hostaudit/remediation"
    top = {file.name for file in place.iterdir()}
    assert top >= {"README.md", "CHANGELOG.md", "meta", "roles", "playbooks", "remediate.yml", "rollback.yml"}
    assert not [f for f in place.rglob("*") if f.name in (".ansible", ".git", "__pycache__", "output")]
    listed = project.run("ansible-galaxy", "collection", "list", "hostaudit.remediation").text
    version = yaml.safe_load((Path(__file__).parents[2] / "playbooks/galaxy.yml").read_text())["version"]
    assert version in listed
