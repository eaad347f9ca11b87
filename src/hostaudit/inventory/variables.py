"""Lets Ansible resolve templates and vaults in connection variables.

``ansible_host: "{{ inventory_hostname }}.example.com"`` and ``ansible_become_password: "{{ vault_become }}"`` are
everyday inventory; ``ansible-inventory`` prints them as they are written. One play on the implicit localhost resolves
all of them, some at a time; what is with a broken one is resolved again, each on its own, so that it costs one host.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hostaudit.failures import excerpt
from hostaudit.inventory import command
from hostaudit.login import BECOME, CHECKING, CONNECTION_VARIABLES, PORT, TIMEOUT, UNRESOLVED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostaudit.model import Host

SETTINGS = {
    "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
    "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    "ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.default",  # what is resolved may be a password: nobody else listens
    "ANSIBLE_STRATEGY": "ansible.builtin.linear",
    "ANSIBLE_RETRY_FILES_ENABLED": "0",
    "ANSIBLE_DISPLAY_FAILED_STDERR": "0",
}

Wanted = tuple[int, str, str]
"""A number, the host, and the name of its variable."""

_RESOLVED = re.compile(r"HOSTAUDIT:(\d+):([A-Za-z0-9+/=]*):")
_FAILED = re.compile(r"^failed: .*?\(item=(\d+)\) => (\{.*\})$", re.MULTILINE)
_LAST_CAUSE = re.compile(r"(?:Error while resolving value for 'msg'|Error rendering template): ")


def resolved(hosts: Sequence[Host], arguments: Sequence[str]) -> list[Host]:
    """Return the hosts with their connection variables resolved.

    ``arguments`` are the inventory, extra-vars and vault options of ``ansible-inventory``. What cannot be resolved
    stays as it is, with the reason by name in the variable ``UNRESOLVED``.
    """
    wanted = [(h.name, name) for h in hosts for name in CONNECTION_VARIABLES if is_template(h.variables.get(name))]
    if not wanted:
        return list(hosts)
    values, reasons = _ask(wanted, arguments)
    changed: dict[str, dict[str, Any]] = {}
    for number, (host, name) in enumerate(wanted):
        variables = changed.setdefault(host, {})
        if number in values:
            variables[name] = values[number]
        else:
            variables.setdefault(UNRESOLVED, {})[name] = reasons.get(number, "Ansible did not say why")
    return [replace(h, variables={**h.variables, **changed[h.name]}) if h.name in changed else h for h in hosts]


def is_template(value: object) -> bool:
    """Tell whether a value is one that Ansible has yet to resolve: Jinja, or a vault inside a file."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    return isinstance(value, dict) and "__ansible_vault" in value


_SAID = "HOSTAUDIT:{{ item[0] }}:{{ hostvars[item[1]][item[2]] | string | b64encode }}:"
PART = 50
"""Values that one task says: alone each costs ten times as much, and one that is broken costs the others of its part
that once."""


def play(wanted: Sequence[Wanted], *, alone: bool) -> list[dict[str, Any]]:
    """Return the play: tasks that say values under their numbers, base64 coded; ``alone``: each on its own."""
    parts = [wanted[at : at + PART] for at in range(0, len(wanted), PART)]
    each = {"loop": "{{ hostaudit_part }}", "loop_control": {"label": "{{ item[0] }}"}}
    all_ = "{% for item in hostaudit_part %}" + _SAID + "{% endfor %}"
    return [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "become": False,
            "connection": "local",
            "tasks": [
                {
                    "ansible.builtin.debug": {"msg": _SAID if alone else all_},
                    **(each if alone else {}),
                    "ignore_errors": True,
                    # `all:vars` hold for localhost too: a broken one must not end this task.
                    "vars": {
                        **dict.fromkeys(CONNECTION_VARIABLES, ""),
                        **dict.fromkeys(PORT + TIMEOUT, 22),
                        **dict.fromkeys(BECOME + CHECKING, False),
                        "ansible_connection": "local",
                        "hostaudit_part": part,
                    },
                }
                for part in parts
            ],
        }
    ]


def _ask(wanted: Sequence[tuple[str, str]], arguments: Sequence[str]) -> tuple[dict[int, str], dict[int, str]]:
    """Return the values, and the reasons where there is none, by position in ``wanted``."""
    numbered = [(number, host, name) for number, (host, name) in enumerate(wanted)]
    values, _, _ = _said(numbered, arguments, alone=False)
    left = [one for one in numbered if one[0] not in values]
    if not left:
        return values, {}
    late, reasons, why = _said(left, arguments, alone=True)
    if not late and not reasons:
        reasons = dict.fromkeys((one[0] for one in left), f"ansible-playbook: {why}")
    return values | late, reasons


def _said(
    wanted: Sequence[Wanted], arguments: Sequence[str], *, alone: bool
) -> tuple[dict[int, str], dict[int, str], str]:
    """Run the play; return values and reasons by number, and what Ansible complained about."""
    with tempfile.TemporaryDirectory(prefix="hostaudit-") as directory:
        file = Path(directory, "resolve.json")
        file.write_text(json.dumps(play(wanted, alone=alone)))
        code, out, err = command.run("playbook", [*arguments, str(file)], SETTINGS)
    values = {int(m[1]): base64.b64decode(m[2]).decode("utf-8", "replace") for m in _RESOLVED.finditer(out)}
    reasons = {int(m[1]): _reason(m[2]) for m in _FAILED.finditer(out)} if alone else {}
    return values, reasons, command.complaint(err) or excerpt(out) or f"exit code {code}"


def _reason(result: str) -> str:
    """Return the last cause that the failed item names."""
    try:
        message = str(json.loads(result).get("msg", ""))
    except ValueError:
        message = result
    return excerpt(_LAST_CAUSE.split(message)[-1], 200)
