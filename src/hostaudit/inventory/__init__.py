"""Reads the inventory through Ansible itself, so that every format and every rule of Ansible holds.

INI, YAML, ranges, group_vars and host_vars, directories, scripts, ``h1,h2,`` lists, several sources, ``--limit``
patterns and vaults are Ansible's business; here its JSON becomes ``Host`` values.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hostaudit.errors import InventoryError
from hostaudit.inventory import command, variables
from hostaudit.login import Flags
from hostaudit.model import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_NOT_GROUPS = {"all", "ungrouped", "_meta"}
_CONFIG_FILES = ("ansible.cfg", "~/.ansible.cfg", "/etc/ansible/ansible.cfg")


def load(
    sources: Sequence[str],
    limit: str | None = None,
    extra_vars: Sequence[str] = (),
    vault_password_file: str | None = None,
    notice: Callable[[str], None] | None = None,
) -> list[Host]:
    """Return the hosts of all sources in the inventory's order; without a source, this machine.

    ``extra_vars`` are arguments of ``-e``: ``key=value``, JSON or ``@file``. ``notice`` gets Ansible's warnings, one
    sentence each. A connection variable whose template Ansible cannot resolve stays as it is, with the reason in the
    variable ``login.UNRESOLVED``: only that host fails. Raises InventoryError.
    """
    if not sources:
        if limit:
            raise InventoryError("--limit needs an inventory to choose from; give one with -i")
        return [Host(os.uname().nodename, (), {"ansible_connection": "local"})]
    for source in sources:
        if "," not in source and not Path(source).expanduser().exists():
            raise InventoryError(
                f"inventory {source!r} does not exist; give a file, a directory, or a list with a comma: -i host1,"
            )
    common = [f"--inventory={_expand(s)}" for s in sources] + [f"--extra-vars={e}" for e in extra_vars]
    if vault_password_file:
        common.append(f"--vault-password-file={vault_password_file}")
    document, warnings = _list([*common, *([f"--limit={limit}"] if limit else [])], sources)
    for warning in warnings:
        if notice:
            notice(f"ansible-inventory: {warning}")
    hosts = parse(document)
    if not hosts and limit:
        raise InventoryError(
            f"no host of {', '.join(sources)} matches --limit {limit!r}; "
            f"`ansible-inventory -i {sources[0]} --graph` shows what there is"
        )
    if not hosts:
        raise InventoryError(f"inventory {', '.join(sources)} names no host; add one, or see inventory.example.ini")
    return variables.resolved(hosts, common)


def read(
    sources: Sequence[str],
    limit: str | None = None,
    extra_vars: Sequence[str] = (),
    vault_password_file: str | None = None,
    notice: Callable[[str], None] | None = None,
) -> tuple[list[Host], Flags]:
    """Return ``load`` and ``configured`` together; the two commands run side by side."""
    with ThreadPoolExecutor(1) as pool:
        flags = pool.submit(configured) if sources else None
        hosts = load(sources, limit, extra_vars, vault_password_file, notice)
        return hosts, flags.result() if flags else Flags()


def chosen(options: Mapping[str, Any], notice: Callable[[str], None]) -> tuple[list[Host], Flags]:
    """Return ``read`` of what the options of a command choose: -i, --limit, -e and --vault-password-file."""
    return read(options["inventory"], options["limit"], options["extra_vars"], options["vault_password_file"], notice)


def configured() -> Flags:
    """Return what ansible.cfg and ANSIBLE_* variables say about connections, which is what Ansible's users expect.

    ``host_key_checking = False`` counts: it is the user's own decision. Raises InventoryError.
    """
    files = [Path(name).expanduser() for name in _CONFIG_FILES]
    if not any(name.startswith("ANSIBLE_") for name in os.environ) and not any(f.exists() for f in files):
        return Flags()
    code, out, err = command.run("config", ["dump", "--only-changed", "--type=all", "--format=json"])
    try:
        return _flags(json.loads(out))
    except (ValueError, TypeError, KeyError, AttributeError):
        why = command.complaint(err) or f"exit code {code}"
        raise InventoryError(
            f"ansible-config cannot read ansible.cfg: {why}; check with `ansible-config dump`"
        ) from None


def _flags(entries: Sequence[Mapping[str, Any]]) -> Flags:
    """Turn the output of ``ansible-config dump`` into Flags."""
    base = {e["name"]: e["value"] for e in entries if "name" in e}
    ssh: dict[str, Any] = {}
    for entry in entries:
        for plugin in entry.get("CONNECTION_PLUGINS", ()):
            ssh.update({e["name"]: e["value"] for e in plugin.get("ssh", ())})
    checking = ssh.get("host_key_checking", base.get("HOST_KEY_CHECKING"))
    timeout = ssh.get("timeout", base.get("DEFAULT_TIMEOUT"))
    become = base.get("DEFAULT_BECOME")
    return Flags(
        user=str(base.get("DEFAULT_REMOTE_USER") or ""),
        private_key=str(base.get("DEFAULT_PRIVATE_KEY_FILE") or ""),
        connection=str(base.get("DEFAULT_TRANSPORT") or ""),
        ssh_args=str(ssh.get("ssh_args") or ""),
        ssh_common_args=str(ssh.get("ssh_common_args") or ""),
        ssh_extra_args=str(ssh.get("ssh_extra_args") or ""),
        host_key_checking=None if checking is None else bool(checking),
        timeout=None if timeout is None else int(timeout),
        become=None if become is None else bool(become),
        become_method=str(base.get("DEFAULT_BECOME_METHOD") or ""),
        become_user=str(base.get("DEFAULT_BECOME_USER") or ""),
    )


def _expand(source: str) -> str:
    return source if "," in source else str(Path(source).expanduser())


def _list(arguments: Sequence[str], sources: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return ansible-inventory's document and its warnings. Raises InventoryError with what it complained about."""
    code, out, err = command.run("inventory", ["--list", *arguments])
    if code == 0:
        try:
            document = json.loads(out)
        except ValueError:
            document = None
        if isinstance(document, dict):
            return document, [text for level, text in command.messages(err) if level == "WARNING"]
    why = command.complaint(err) or f"exit code {code}, no answer"
    options = " ".join(f"-i {s}" for s in sources)
    raise InventoryError(
        f"ansible-inventory cannot read {', '.join(sources)}: {why}; check with `ansible-inventory {options} --list`"
    )


def parse(document: Mapping[str, Any]) -> list[Host]:
    """Turn the document of ``ansible-inventory --list`` into hosts, in the order in which its groups name them."""
    variables: Mapping[str, Any] = document.get("_meta", {}).get("hostvars", {})
    members: dict[str, set[str]] = {}

    def walk(group: str, above: tuple[str, ...]) -> None:
        """Visit a group and those below it; Ansible refuses circles."""
        entry = document.get(group, {})
        here = above if group in _NOT_GROUPS else (*above, group)
        for name in entry.get("hosts", ()):
            members.setdefault(name, set()).update(here)
        for child in entry.get("children", ()):
            walk(child, here)

    walk("all", ())
    for group in document:
        if group not in _NOT_GROUPS:
            walk(group, ())
    return [
        Host(name, tuple(sorted(groups)), {k: _plain(v) for k, v in variables.get(name, {}).items()})
        for name, groups in members.items()
    ]


def _plain(value: Any) -> Any:
    """Return a value without Ansible's mark for text that it must not template."""
    if isinstance(value, dict):
        if set(value) == {"__ansible_unsafe"}:
            return value["__ansible_unsafe"]
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value
