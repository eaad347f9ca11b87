from __future__ import annotations

from typing import Any

import pytest

from hostaudit import login, sshargs
from hostaudit.failures import HostError, excerpt
from hostaudit.login import Flags, Login
from hostaudit.model import Host


def resolve(flags: Flags | None = None, configured: Flags | None = None, **variables: Any) -> Login:
    return login.resolve(Host("web1", (), variables), flags or Flags(), configured)


def test_a_bare_host_leaves_everything_to_ssh() -> None:
    assert resolve() == Login("web1", "web1")


def test_precedence_is_variable_then_flag_then_ansible_cfg() -> None:
    flags, configured = Flags(user="flag", private_key="k1"), Flags(user="cfg", private_key="k2", timeout=7)
    assert resolve(flags, configured, ansible_user="var").user == "var"
    assert resolve(flags, configured).user == "flag"
    assert resolve(None, configured).user == "cfg"
    assert resolve(flags, configured).keys == ("k1",)
    assert resolve(flags, configured).timeout == 7


@pytest.mark.parametrize(
    ("variables", "field", "value"),
    [
        ({"ansible_host": "10.0.0.1"}, "address", "10.0.0.1"),
        ({"ansible_ssh_host": "10.0.0.2"}, "address", "10.0.0.2"),
        ({"ansible_port": 2222}, "port", 2222),
        ({"ansible_ssh_port": "2223"}, "port", 2223),
        ({"ansible_ssh_user": "bob"}, "user", "bob"),
        ({"ansible_ssh_pass": "x"}, "password", "x"),
        ({"ansible_private_key_file": "~/k"}, "keys", ("~/k",)),
        ({"ansible_become": "yes"}, "become", True),
        ({"ansible_become": True, "ansible_become_user": "adm"}, "become_user", "adm"),
        ({"ansible_become_pass": "pw"}, "become_password", "pw"),
        ({"ansible_connection": "local"}, "local", True),
        ({"ansible_connection": "ansible.builtin.paramiko_ssh"}, "local", False),
        ({"ansible_python_interpreter": "auto_silent"}, "python", ()),
        ({"ansible_python_interpreter": "/usr/bin/env python3.11"}, "python", ("/usr/bin/env", "python3.11")),
        ({"ansible_host_key_checking": "false"}, "options", {"stricthostkeychecking": ("no",)}),
    ],
)
def test_variables_of_ansible_are_understood(variables: dict[str, Any], field: str, value: object) -> None:
    assert getattr(resolve(**variables), field) == value


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"ansible_connection": "winrm"}, "ansible_connection=winrm"),
        ({"ansible_become": True, "ansible_become_method": "su"}, "ansible_become_method=su"),
        ({"ansible_become": "perhaps"}, "ansible_become=perhaps"),
        ({"ansible_port": "ssh"}, "ansible_port=ssh"),
        ({"ansible_port": 70000}, "ansible_port=70000"),
        ({"ansible_host": "{{ nowhere }}"}, "ansible_host could not be resolved"),
        ({"ansible_password": {"__ansible_vault": "$ANSIBLE_VAULT"}}, "ansible_password could not be resolved"),
        ({"ansible_python_interpreter": "python3'; reboot"}, "ansible_python_interpreter"),
        ({"ansible_become": True, "ansible_become_user": "a'b"}, "ansible_become_user"),
        ({"ansible_ssh_common_args": "-o 'x"}, "ansible_ssh_args"),
    ],
)
def test_what_cannot_be_used_is_named(variables: dict[str, Any], names: str) -> None:
    with pytest.raises(HostError, match=names.replace("$", r"\$")) as caught:
        resolve(**variables)
    assert caught.value.kind == "inventory"


def test_ansibles_reason_for_an_unresolved_variable_is_told() -> None:
    with pytest.raises(HostError, match="'nowhere' is undefined"):
        resolve(ansible_host="{{ nowhere }}", **{login.UNRESOLVED: {"ansible_host": "'nowhere' is undefined"}})


def test_secrets_stay_out_of_the_repr() -> None:
    shown = repr(resolve(ansible_password="geheim", ansible_become_pass="geheim", ansible_become=True))
    assert "geheim" not in shown


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("-o ProxyJump=bast", {"proxyjump": ("bast",)}),
        ("-oProxyJump=bast", {"proxyjump": ("bast",)}),
        ("-o 'ProxyJump bast'", {"proxyjump": ("bast",)}),
        ('-o ProxyCommand="ssh -W %h:%p -q b"', {"proxycommand": ("ssh -W %h:%p -q b",)}),
        ("-J a,b -p 22 -p 23", {"proxyjump": ("a,b",), "port": ("22",)}),
        ("-i a -i b -o IdentityFile=c", {"identityfile": ("a", "b", "c")}),
        ("-CAqi key", {"identityfile": ("key",)}),
        ("-6", {"addressfamily": ("inet6",)}),
        ("-C -o ControlMaster=auto -o ControlPersist=60s", {}),
    ],
)
def test_ssh_arguments_are_read_as_ssh_reads_them(text: str, options: dict[str, tuple[str, ...]]) -> None:
    parsed = sshargs.parse(text)
    assert parsed.options == options
    assert parsed.ignored == ()


def test_what_is_not_understood_is_kept_to_be_reported() -> None:
    parsed = sshargs.parse("-F cfg -o Ciphers=aes128-ctr -L 1:b:2 -o KexAlgorithms=curve25519-sha256 stray")
    assert parsed.config_file == "cfg"
    assert parsed.ignored == ("-o Ciphers=aes128-ctr", "-L 1:b:2", "-o KexAlgorithms=curve25519-sha256", "stray")


@pytest.mark.parametrize("text", ["-o", "-J", "-o Port", "-o Port="])
def test_a_missing_value_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="lacks its value"):
        sshargs.parse(text)


def test_an_excerpt_does_nothing_to_a_terminal() -> None:
    said = excerpt(b"a\x1b[2J\x9b\xc2\x9bx\n\tb \xe2\x80\xaeevil")
    assert said.isprintable()
    assert said.startswith("a")
    assert len(excerpt("x" * 5000)) < 400
