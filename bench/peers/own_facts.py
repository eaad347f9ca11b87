"""hostaudit's own transport with the small fact set as its agent: ``own_facts.py FLEET COUNT FORKS OUTPUT [whole]``."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from pathlib import Path

from hostaudit.bundle import build
from hostaudit.collect import CollectOptions, ask, collect
from hostaudit.model import Host, Unreachable
from hostaudit.task import Task


def agent() -> bytes:
    """Return the fact set's source as a zip application."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", (Path(__file__).parent / "facts.py").read_bytes())
    return out.getvalue()


def hosts_of(folder: str, count: int) -> list[Host]:
    """Return the first hosts of the fleet."""
    listed = Path(folder, "hosts").read_text().splitlines()[:count]
    return [
        Host(
            name,
            ("fleet",),
            {
                "ansible_host": address,
                "ansible_port": int(port),
                "ansible_user": "root",
                "ansible_ssh_private_key_file": f"{folder}/id",
                "ansible_ssh_common_args": f"-F {folder}/ssh_config",
                "ansible_python_interpreter": "/usr/bin/python3",
            },
        )
        for name, address, port in (line.split() for line in listed)
    ]


def main() -> int:
    folder, count, forks, output, *rest = sys.argv[1:]
    hosts = hosts_of(folder, int(count))
    patience = float(os.environ.get("OWN_CONNECT_TIMEOUT", "60"))
    options = CollectOptions(forks=int(forks), interval=0, connect_timeout=patience, run_timeout=60)
    if rest:
        results = collect(hosts, build(), options)
        good = [json.dumps({"address": r.host.name}) for r in results if not isinstance(r, Unreachable)]
    else:
        task = Task((), 60, lambda body, _where: body.decode())
        results = ask([(host, task) for host in hosts], agent(), options)
        good = [r.value for r in results if not isinstance(r, Unreachable)]
    for r in results:
        if isinstance(r, Unreachable):
            print(r.reason, file=sys.stderr)
    Path(output).write_text("".join(one + "\n" for one in good))
    return 0


if __name__ == "__main__":
    sys.exit(main())
