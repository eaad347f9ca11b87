"""What it costs to read an inventory: ``inventories.py [HOSTS...]`` (100, 1,000 and 10,000 hosts).

``ansible-inventory --list`` is what hostaudit starts; ``hostaudit run --list-hosts`` is that, and what is made of it.
The inventory of a template needs a play besides, which resolves it for every host.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from measure import cost

if TYPE_CHECKING:
    from collections.abc import Callable

BIN = Path(sys.executable).parent
VARIABLES = "[fleet:vars]\nansible_user=root\nansible_port=22\nhostaudit_vips=10.0.0.100\n"


def ini(folder: Path, count: int) -> Path:
    """Write a line for each host, in groups of 50."""
    lines = []
    for number in range(count):
        if number % 50 == 0:
            lines.append(f"[rack{number // 50}]")
        lines.append(f"h{number:05} ansible_host=10.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}")
    racks = "\n".join(f"rack{number}" for number in range((count + 49) // 50))
    return _written(folder / "hosts.ini", "\n".join(lines) + f"\n[fleet:children]\n{racks}\n{VARIABLES}")


def yaml(folder: Path, count: int) -> Path:
    """Write the same in YAML."""
    hosts = "".join(
        f"    h{n:05}: {{ansible_host: 10.{n // 62500}.{n // 250 % 250}.{n % 250 + 1}}}\n" for n in range(count)
    )
    return _written(
        folder / "hosts.yml", f"fleet:\n  vars: {{ansible_user: root, ansible_port: 22}}\n  hosts:\n{hosts}"
    )


def host_vars(folder: Path, count: int) -> Path:
    """Write a file of variables for each host."""
    (folder / "host_vars").mkdir()
    for number in range(count):
        _written(
            folder / f"host_vars/h{number:05}.yml", f"ansible_host: 10.0.{number // 250 % 250}.{number % 250 + 1}\n"
        )
    return _written(folder / "hosts.ini", f"[fleet]\nh[00000:{count - 1:05}]\n{VARIABLES}")


def template(folder: Path, count: int) -> Path:
    """Make addresses from names."""
    return _written(
        folder / "hosts.ini",
        f'[fleet]\nh[00000:{count - 1:05}]\n{VARIABLES}ansible_host="{{{{ inventory_hostname }}}}.example.com"\n',
    )


SAYS = """\
Ansible reads it; the second column is that, and what hostaudit makes of it. Every run does it anew:
[decision 11](decisions/0011-inventories-are-not-cached.md) says why."""
KINDS: dict[str, Callable[[Path, int], Path]] = {
    "INI, a line a host": ini,
    "YAML": yaml,
    "INI and host_vars": host_vars,
    "INI, the address a template": template,
}


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def table(count: int) -> list[dict[str, float | str]]:
    """Measure each kind: CPU seconds, children included."""
    rows: list[dict[str, float | str]] = []
    for kind, make in KINDS.items():
        with tempfile.TemporaryDirectory(prefix="hostaudit-bench-") as folder:
            path = str(make(Path(folder), count))
            runs = 2 if count <= 1000 else 1
            listed = cost([str(BIN / "ansible-inventory"), "-i", path, "--list"], runs)
            own = cost([str(BIN / "hostaudit"), "run", "-i", path, "--list-hosts", "-q"], runs)
        found = {"ansible_s": listed.cpu_ms / 1e3, "own_s": own.cpu_ms / 1e3, "peak_mib": own.peak_mib}
        rows.append({"hosts": count, "kind": kind, **found})
        print(f"  {rows[-1]}", file=sys.stderr, flush=True)
    return rows


def section(found: dict[str, list[dict[str, float | str]]]) -> str:
    """Return the page's part."""
    if not found:
        return ""
    lines = [
        "\n## Reading an inventory\n",
        f"{SAYS}\n",
        "| hosts | inventory | `ansible-inventory --list`, CPU s | `hostaudit run --list-hosts`, CPU s | ms a host |",
        "| --: | --- | --: | --: | --: |",
    ]
    lines += [
        f"| {row['hosts']} | {row['kind']} | {row['ansible_s']:.1f} | {row['own_s']:.1f} "
        f"| {float(row['own_s']) / float(row['hosts']) * 1e3:.1f} |"
        for _, rows in sorted(found.items(), key=lambda item: int(item[0]))
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    counts = [int(a) for a in arguments] or [100, 1000, 10000]
    print(section({str(count): table(count) for count in counts}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
