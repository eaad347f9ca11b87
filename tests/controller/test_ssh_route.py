from __future__ import annotations

from typing import TYPE_CHECKING, Any

import paramiko
import pytest

from hostaudit import login
from hostaudit.failures import HostError
from hostaudit.login import Flags
from hostaudit.model import Host
from hostaudit.ssh import config as sshconfig
from hostaudit.ssh import route

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's ssh configuration file, of a home that is empty otherwise."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sshconfig, "SYSTEM_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("LOGNAME", "me")
    sshconfig._parsed.cache_clear()
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh" / "config"


def find(name: str, **variables: Any) -> route.Route:
    return route.find(login.resolve(Host(name, (), variables), Flags()))


@pytest.mark.usefixtures("config")
def test_without_a_configuration_file_ssh_s_defaults_hold() -> None:
    (hop,) = find("web1").hops
    assert (hop.address, hop.port, hop.identity.user, hop.strict) == ("web1", 22, "me", True)
    assert [f.rpartition("/")[2] for f in hop.known_hosts] == [
        "known_hosts",
        "known_hosts2",
        "ssh_known_hosts",
        "ssh_known_hosts2",
    ]


def test_the_configuration_file_is_followed(config: Path) -> None:
    config.write_text(
        "Host web*\n HostName %h.example.com\n Port 2200\n User deploy\n IdentityFile ~/.ssh/web\n"
        " IdentitiesOnly yes\n HostKeyAlias alias\n UserKnownHostsFile ~/kh1 /kh2\n StrictHostKeyChecking accept-new\n"
        " ConnectTimeout 3\n AddressFamily inet\n"
    )
    (hop,) = find("web1").hops
    assert (hop.address, hop.port, hop.identity.user) == ("web1.example.com", 2200, "deploy")
    assert hop.identity.configured == (f"{config.parent}/web",)
    assert hop.identity.identities_only
    assert (hop.key_name, hop.known_hosts[0], hop.known_hosts[1]) == ("alias", f"{config.parent.parent}/kh1", "/kh2")
    assert (hop.strict, hop.accept_new, hop.timeout, hop.family) == (False, True, 3.0, "inet")


def test_the_inventory_comes_before_the_file(config: Path) -> None:
    config.write_text("Host *\n Port 2200\n User deploy\n StrictHostKeyChecking no\n IdentityFile ~/.ssh/x\n")
    (hop,) = find(
        "web1", ansible_port=22, ansible_user="bob", ansible_ssh_common_args="-o StrictHostKeyChecking=yes -i /k"
    ).hops
    assert (hop.port, hop.identity.user, hop.strict, hop.identity.explicit) == (22, "bob", True, ("/k",))


def test_include_takes_the_place_of_the_line(config: Path) -> None:
    (config.parent / "conf.d").mkdir()
    (config.parent / "conf.d" / "a.conf").write_text("Host web1\n Port 1111\n")
    config.write_text("Host web2\n  Port 2222\n  Include conf.d/*.conf\n  User two\nHost *\n User any\n")
    assert find("web1").hops[0].port == 1111
    assert find("web1").hops[0].identity.user == "any"
    assert (find("web2").hops[0].port, find("web2").hops[0].identity.user) == (2222, "two")


def test_jump_hosts_come_first_and_take_their_settings_from_the_file(config: Path) -> None:
    config.write_text(
        "Host bast\n HostName 10.0.0.9\n User jumper\n ProxyJump outer:99\nHost web1\n ProxyJump bast,b2\n"
    )
    hops = find("web1", ansible_ssh_common_args="-o StrictHostKeyChecking=no", ansible_password="x").hops
    assert [(h.address, h.port, h.identity.user) for h in hops] == [
        ("outer", 99, "me"),
        ("10.0.0.9", 22, "jumper"),
        ("b2", 22, "me"),
        ("web1", 22, "me"),
    ]
    assert [h.strict for h in hops] == [True, True, True, False]
    assert [h.identity.password for h in hops] == ["", "", "", "x"]


def test_a_jump_for_all_hosts_does_not_hold_for_the_jump_host(config: Path) -> None:
    config.write_text("Host *\n ProxyJump bast\n")
    assert [h.name for h in find("web1").hops] == ["bast", "web1"]


def test_jumps_in_a_circle_are_refused(config: Path) -> None:
    config.write_text("Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
    with pytest.raises(HostError, match="circle"):
        find("a")


def test_a_proxy_command_has_its_tokens(config: Path) -> None:
    config.write_text("Host web1\n ProxyJump bast\n")
    (hop,) = find("web1", ansible_ssh_common_args='-o ProxyCommand="nc -x %r@p %h %p 100%%"', ansible_user="u").hops
    assert hop.proxy_command == "nc -x u@p web1 22 100%"


def test_a_file_that_cannot_be_read_is_named(config: Path) -> None:
    config.write_text("Host\n")
    with pytest.raises(HostError, match=r"\.ssh/config"):
        find("web1")
    with pytest.raises(HostError, match="no such file"):
        find("web1", ansible_ssh_common_args="-F /nope/config")


def test_settings_that_are_not_followed_are_reported(config: Path) -> None:
    config.write_text("Host *\n KexAlgorithms curve25519-sha256\n")
    assert find("web1", ansible_ssh_common_args="-o Foo=1").ignored == (
        "ssh argument -o Foo=1",
        "kexalgorithms of ssh_config",
    )


@pytest.mark.parametrize("more", ["", "Match host web7\n  Port 77\n", "CanonicalizeHostname no\n"])
def test_a_block_for_each_host_is_read_as_all_blocks_together(config: Path, more: str) -> None:
    text = "User first\nHost web1 web2\n  Port 21\n"
    text += "Host=web2\n  Port 22\n  HostName %h.example\nHost web* !web3\n  User w\n"
    text += f'Host "web4"\n  Port 44\n{more}Host web3\n  IdentityFile ~/a\nHost *\n  IdentityFile ~/b\n  Port 2222\n'
    config.write_text(text)
    whole = paramiko.SSHConfig.from_text(text)
    for name in ("web1", "web2", "web3", "web4", "web7", "other"):
        values = {k: v if isinstance(v, list) else [v] for k, v in whole.lookup(name).items()}
        assert {k: list(v) for k, v in sshconfig.options(name).items()} == values


def test_a_block_for_each_host_of_a_fleet_costs_no_more_per_host(config: Path, work: Any) -> None:
    config.write_text("".join(f"Host web{n}\n  Port {n + 1}\n" for n in range(3000)) + "Host *\n  User me\n")
    assert sshconfig.options("web0")["port"] == ("1",)
    numbers = range(0, 3000, 30)
    with work.counted():
        ports = [sshconfig.options(f"web{n}")["port"] for n in numbers]
    assert work.calls < 100 * 1500  # fewer than one for each of the 3000 blocks
    assert ports == [(f"{n + 1}",) for n in numbers]
