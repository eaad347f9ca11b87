"""The whole collection with one version of ansible-core on three Debians; `make collection` runs it with several.

Not collected by itself: it takes minutes for each version. COLLECTION_ANSIBLE names the directory of ansible-playbook.
"""

from collections.abc import Iterator

import pytest
from labkit.collection import Played, Project, installed, variables
from roles.play import ALL, NAMES, VALUES, furnished, states

ELSEWHERE = {
    "conntrack_table": {"conntrack_table_max": 500000, "conntrack_table_hashsize": 125000},
    "neighbour_table": {"neighbour_table_gc_thresh3": 9000},
}
"""Roles that need the first network namespace of a machine: here they have to refuse."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with furnished():
        yield installed(tmp_path_factory.mktemp("user"))


def remediate(project: Project, *flags: str, check: bool = True, **more: object) -> Played:
    given = variables({"hostaudit_roles": list(VALUES), **ALL, **more})
    return project.play("hostaudit.remediation.remediate", *given, *flags, check=check)


def test_syntax(project: Project) -> None:
    for book in ("remediate", "rollback"):
        project.play(f"hostaudit.remediation.{book}", "--syntax-check")


def test_check_change_idempotence_and_undo(project: Project) -> None:
    before = states()
    check = remediate(project, "--check", "--diff")
    assert states() == before, "check mode changes nothing"
    change = remediate(project, "--diff", hostaudit_change="c1")
    assert {n: set(r) for n, r in check.changed.items()} == {n: set(r) for n, r in change.changed.items()}
    assert set(change.changed) == set(NAMES)
    assert set(change.changed["b11"]) == {"sysctl", "link_mtu", "mss_clamp", "pve_firewall"}, (
        "the other roles use sysctl"
    )
    assert remediate(project, "--check").changed == {}
    assert remediate(project).changed == {}
    project.play("hostaudit.remediation.rollback", *variables({"hostaudit_change": "c1"}))
    assert states() == before, "every byte is back"


@pytest.mark.parametrize("role", ELSEWHERE)
def test_what_cannot_be_set_here_is_refused(project: Project, role: str) -> None:
    played = remediate(project, "--check", check=False, hostaudit_roles=[role], **ELSEWHERE[role])
    assert played.code == 2
    assert "not settable here" in played.text
    assert played.changed == {}


def test_a_role_that_fails_is_undone(project: Project) -> None:
    before = states()
    values = {"sysctl_values": {"net.ipv4.tcp_mtu_probing": 1, "net.ipv4.tcp_retries1": 999}}
    played = remediate(project, check=False, hostaudit_roles=["tcp_backlog", "sysctl"], **values)
    assert played.code == 2
    assert "the kernel does not take '999'" in " ".join(played.text.split())
    assert states() == before


@pytest.mark.parametrize(
    ("role", "given"),
    [
        ("tcp_backlog", {"tcp_backlog_somaxconn": "many"}),
        ("link_mtu", {"link_mtu_links": [1400]}),
        ("mss_clamp", {"mss_clamp_backend": "ipfw"}),
    ],
)
def test_arguments_are_validated(project: Project, role: str, given: dict[str, object]) -> None:
    played = remediate(project, "--check", check=False, hostaudit_roles=[role], **given)
    assert played.code == 2
    assert "Validation of arguments failed" in " ".join(played.text.split())
    assert next(iter(given)) in played.text
