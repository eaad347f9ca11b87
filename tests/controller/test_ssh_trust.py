"""Who the host is, who one is towards it, and becoming root: against a real sshd and a real sudo."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit.collect import CollectOptions, collect
from hostaudit.login import Flags
from hostaudit.model import Collected, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.lab

QUICK = CollectOptions(interval=0, connect_timeout=2, run_timeout=3)
Fleet = Any  # the fixture's class stands in conftest.py, which is no module to import from


# ---- who are you ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (64, "is not known: no [127.77.0.64]:"),
        (60, "HAS CHANGED"),
        (62, "REVOKED"),
        (63, "certificate authority"),
    ],
)
def test_strict_host_keys(fleet: Fleet, agent: bytes, number: int, says: str) -> None:
    result = fleet.unreachable(fleet.host("plain", number), agent)
    assert (result.kind, says in result.reason) == ("host-key", True)
    key = (fleet.directory / "host_ed25519.pub").read_text()
    shown = subprocess.run(["ssh-keygen", "-lf", "-"], input=key, check=True, capture_output=True, text=True).stdout
    assert shown.split()[1] in result.reason
    assert f"{fleet.directory}/known_hosts" in result.reason


def test_the_known_type_of_key_is_asked_for_first(fleet: Fleet, agent: bytes) -> None:
    """The host offers ed25519 first; only its rsa key is known."""
    assert fleet.collected(fleet.host("plain", 61), agent).host.name == "plain61"


def test_so_it_is_where_names_are_hashed(fleet: Fleet, agent: bytes, tmp_path: Path) -> None:
    """Then the type is not known beforehand: the host shows its ed25519 key, and is asked again for the rsa key."""
    lines = (fleet.directory / "known_hosts").read_text().splitlines()
    names, *key = lines[1].split()
    ed25519 = [f"{name} {' '.join(key)}" for name in names.split(",")]
    file = tmp_path / "known_hosts"
    file.write_text("\n".join([*ed25519, *(line for line in lines if ":61]" in line or ".61]" in line), ""]))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    assert "127.77" not in file.read_text()
    args = f"-F {fleet.directory}/config -o UserKnownHostsFile={file}"
    numbers = (5, 61, 64)
    hosts = [fleet.host("plain", number, ansible_ssh_common_args=args) for number in numbers]
    plain, by_rsa, stranger = collect(hosts, agent, QUICK)
    assert isinstance(plain, Collected)
    assert isinstance(by_rsa, Collected), by_rsa
    assert isinstance(stranger, Unreachable)
    assert (stranger.kind, "is not known" in stranger.reason) == ("host-key", True)


def test_a_key_is_taken_unseen_only_where_the_user_says_so(fleet: Fleet, agent: bytes) -> None:
    before = (fleet.directory / "known_hosts").read_bytes()
    args = f"-F {fleet.directory}/config -o StrictHostKeyChecking="
    assert fleet.collected(fleet.host("plain", 64, ansible_ssh_common_args=args + "no"), agent)
    assert fleet.collected(fleet.host("plain", 64, ansible_ssh_common_args=args + "accept-new"), agent)
    assert fleet.collected(fleet.host("plain", 64, ansible_host_key_checking=False), agent)
    assert (
        fleet.unreachable(fleet.host("plain", 60, ansible_ssh_common_args=args + "accept-new"), agent).kind
        == "host-key"
    )
    assert (fleet.directory / "known_hosts").read_bytes() == before


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"ansible_ssh_private_key_file": "other"}, "refuses user 'plain': tried key"),
        ({"ansible_ssh_private_key_file": "locked"}, "protected by a passphrase"),
        ({"ansible_ssh_private_key_file": "absent"}, "there is no such file"),
        ({"ansible_ssh_private_key_file": "known_hosts"}, "not a private key"),
        ({"ansible_ssh_private_key_file": "absent", "ansible_password": "wr0ng"}, "tried the password"),
        ({"ansible_user": "nobodyhere"}, "refuses user 'nobodyhere'"),
    ],
)
def test_a_login_that_fails_says_who_and_with_what(
    fleet: Fleet, agent: bytes, variables: dict[str, str], says: str
) -> None:
    given = {k: str(fleet.directory / v) if k.endswith("key_file") else v for k, v in variables.items()}
    result = fleet.unreachable(fleet.host("plain", **given), agent)
    assert (result.kind, says in result.reason) == ("auth", True), result.reason
    assert "wr0ng" not in result.reason


def test_a_password_logs_in(fleet: Fleet, agent: bytes) -> None:
    host = fleet.host("plain", ansible_ssh_private_key_file="", ansible_password=fleet.password)
    assert fleet.collected(host, agent).snapshot.privileged is False


@pytest.fixture
def ssh_agent(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run an ssh agent that holds the key whose file is locked."""
    path = fleet.directory / "agent.sock"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    ask = fleet.directory / "askpass"
    ask.write_text("#!/bin/sh\necho secret\n")
    ask.chmod(0o700)
    while not path.exists():
        time.sleep(0.01)
    environment = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-q", fleet.directory / "locked"], check=True, env=environment)
    yield
    process.terminate()
    process.wait(5)


@pytest.mark.usefixtures("ssh_agent")
def test_the_agent_s_keys_are_used(fleet: Fleet, agent: bytes) -> None:
    args = f"-F none -o UserKnownHostsFile={fleet.directory}/known_hosts"
    any_key = fleet.host("plain", 1, ansible_ssh_private_key_file="", ansible_ssh_common_args=args)
    locked = str(fleet.directory / "locked")
    this_key = fleet.host("plain", 2, ansible_ssh_private_key_file=locked, ansible_ssh_common_args=args)
    assert [type(r) for r in collect([any_key, this_key], agent, QUICK)] == [Collected, Collected]
    without = fleet.host("plain", 3, ansible_ssh_private_key_file=locked)  # its configuration says IdentityAgent none
    assert fleet.unreachable(without, agent).kind == "auth"


# ---- becoming root ----------------------------------------------------------------------------------------------


def test_sudo_with_and_without_a_password(fleet: Fleet, agent: bytes) -> None:
    become = Flags(become=True)
    options = CollectOptions(interval=0, connect_timeout=2, run_timeout=5, flags=become)
    asked = CollectOptions(
        interval=0, connect_timeout=2, run_timeout=5, flags=Flags(become=True, become_password=fleet.password)
    )
    assert fleet.collected(fleet.host("sudofree"), agent, options).snapshot.privileged
    assert fleet.collected(fleet.host("sudofree"), agent, asked).snapshot.privileged
    assert fleet.collected(fleet.host("sudopass"), agent, asked).snapshot.privileged
    assert fleet.collected(
        fleet.host("root", ansible_python_interpreter=fleet.python), agent, options
    ).snapshot.privileged
    assert not fleet.collected(fleet.host("sudofree", ansible_become=False), agent, options).snapshot.privileged


@pytest.mark.parametrize(
    ("user", "password", "says"),
    [
        ("sudopass", "", "sudo asks for a password"),
        ("sudopass", "wr0ng", "does not accept the password"),
        ("sudonot", "right", "not in sudoers"),
        ("sudotty", "", "requiretty"),
        ("nosudo", "", "has no sudo"),
    ],
)
def test_sudo_that_refuses(fleet: Fleet, agent: bytes, user: str, password: str, says: str) -> None:
    secret = fleet.password if password == "right" else password
    host = fleet.host(user, ansible_become=True, ansible_become_password=secret)
    result = fleet.unreachable(host, agent, CollectOptions(interval=0, run_timeout=6))
    assert (result.kind, says in result.reason) == ("sudo", True), result.reason
    assert not secret or secret not in result.reason
