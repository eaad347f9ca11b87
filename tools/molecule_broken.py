"""Show that the Molecule scenarios can fail: ``make molecule-broken``.

A role is broken on purpose in a copy of the tree, in one way at a time. Its scenario must fail, at the step that is
there for it and in the words that name the fault; and it must pass unbroken.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


FILE = Path("playbooks/roles/tcp_backlog/tasks/main.yml")
BEFORE = "- name: Set the keys\n"
"""The task that a broken role has another one in front of."""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Fault:
    """One way to break a role."""

    what: str
    task: str
    words: tuple[str, ...]
    """What the log must say."""


FAULTS = (
    Fault(
        "not idempotent",
        """
- name: Count the runs
  ansible.builtin.shell: echo >>/root/runs
  changed_when: true
""",
        ("Idempotence test failed because of the following tasks", "=> tcp_backlog : Count the runs"),
    ),
    Fault(
        "check mode says less than the change does",
        """
- name: Make a file
  ansible.builtin.file: {path: /root/more, state: directory, mode: "0755"}
  when: not ansible_check_mode
""",
        ("TASK [Check mode named exactly what the change then did]", "The change: sysctl: "),
    ),
    Fault(
        "check mode changes the host",
        """
- name: Make a file
  ansible.builtin.command: touch /etc/more
  check_mode: false
  changed_when: false
""",
        ("'check mode changed:'", "root:root f  /etc/more"),
    ),
    Fault(
        "the undo is missing",
        """
- name: Make a file
  ansible.builtin.copy: {dest: /etc/more, content: "", mode: "0644"}
""",
        ("'the undo did not bring back:'", "root:root f  /etc/more"),
    ),
)


def run(fault: Fault | None, tree: Path) -> tuple[int, str]:
    """Run the scenario in a copy of the tree; return its exit status and the log."""
    for part in ("playbooks", "molecule", ".config", "tools", "tests/lab"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    if fault:
        text = (tree / FILE).read_text()
        if text.count(BEFORE) != 1:
            return 0, f"{FILE} has changed: {BEFORE!r} is not in there once"
        (tree / FILE).write_text(text.replace(BEFORE, f"{fault.task}\n{BEFORE}"))
    inventory = tree / "molecule/hosts/boot.yml"  # one of the three is enough to see it
    inventory.write_text(re.sub(r"(?m)^    deb1[13]: .*\n", "", inventory.read_text()))
    command = [sys.executable, str(tree / "tools/molecule.py"), "tcp_backlog"]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def main() -> int:
    """Return 0 when the unbroken role passes and each broken one fails for its own reason."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="worlds side by side (%(default)s)")
    workers = parser.parse_args().workers
    bad = 0
    cases = (None, *FAULTS)
    with tempfile.TemporaryDirectory(prefix="broken-") as directory, ThreadPoolExecutor(workers) as pool:
        trees = [Path(directory) / str(i) for i in range(len(cases))]
        for fault, (status, text) in zip(cases, pool.map(run, cases, trees), strict=True):
            expected = fault.words if fault else ("tcp_backlog passed",)
            ok = bool(status) == bool(fault) and all(words in text for words in expected)
            bad += not ok
            verdict = f"{'failed' if status else 'passed'}, {'as it should' if ok else 'which is WRONG'}"
            print(f"{fault.what if fault else 'unbroken':44} {verdict}", flush=True)
            if not ok:
                print(text)
            elif fault:
                said = next(line for line in COLOUR.sub("", text).splitlines() if fault.words[-1] in line)
                print(f"    {said.rpartition('Action failed: ')[2].strip()[:300]}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
