"""The collection as somebody gets it who has only its git address: installed into an empty directory and used there."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.settings import LAB, sh

TOP = Path(__file__).resolve().parents[3]
BIN = Path(os.environ.get("COLLECTION_ANSIBLE", Path(sys.executable).parent))
"""Where ansible-playbook and ansible-galaxy are; ``tools/collection`` names those of other versions."""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Played:
    """What ansible-playbook said."""

    code: int
    text: str
    changed: Mapping[str, Mapping[str, int]]
    """Host -> role -> tasks that reported a change; roles by their short names."""

    def roles(self, name: str) -> set[str]:
        """Return the roles that changed something on a host."""
        return set(self.changed.get(name, {}))


@dataclass(frozen=True)
class Project:
    """A directory of a user, with an Ansible home of its own."""

    place: Path
    home: Path

    def run(self, command: str, *arguments: object, check: bool = True) -> Played:
        """Run one of Ansible's commands in the directory; AssertionError with its words when it fails."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")}
        environment |= {
            "ANSIBLE_HOME": str(self.home),
            # not in the home directory: the host of another lab may have the same address
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(LAB / "ansible/cp"),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_TIMEOUT": "30",  # a connection on a busy machine
            "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "0",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            [str(BIN / command), *(str(a) for a in arguments)],
            check=False, cwd=self.place, env=environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        text = COLOUR.sub("", done.stdout)
        assert not check or done.returncode == 0, text
        return Played(done.returncode, text, changes(text))

    def play(self, book: str, *arguments: object, check: bool = True) -> Played:
        """Run a playbook, by file or by the collection's name for it, on the hosts of the lab."""
        return self.run("ansible-playbook", book, "-i", LAB / "inventory.ini", *arguments, check=check)


def changes(text: str) -> dict[str, dict[str, int]]:
    """Return host -> role -> number of changed tasks, from the text of ansible-playbook."""
    found: dict[str, dict[str, int]] = {}
    role = ""
    for line in text.splitlines():
        if task := re.match(r"(?:TASK|RUNNING HANDLER) \[(?:([\w.]+) : )?", line):
            role = (task.group(1) or "").rpartition(".")[2]
        elif host := re.match(r"changed: \[(\w+)", line):
            roles = found.setdefault(host.group(1), {})
            roles[role] = roles.get(role, 0) + 1
    return found


def publish(to: Path) -> Path:
    """Put the working tree, as it is and without what git ignores, into a bare repository with one commit."""
    bare = to / "hostaudit.git"
    sh("git", "init", "-q", "--bare", bare)
    git = [
        "git",
        f"--git-dir={bare}",
        f"--work-tree={TOP}",
        "-c",
        "user.name=lab",
        "-c",
        "user.email=lab@example.invalid",
    ]
    git += ["-c", "commit.gpgsign=false", "-c", "core.bare=false"]
    sh(*git, "add", "--all", cwd=TOP)
    sh(*git, "commit", "-q", "-m", "The working tree", cwd=TOP)
    return bare


def installed(to: Path) -> Project:
    """Install the collection from git into an empty project; nothing else is there."""
    project = Project(to / "project", to / "home")
    project.place.mkdir()
    project.run("ansible-galaxy", "collection", "install", f"git+file://{publish(to / 'git')}#/playbooks/")
    assert not list(project.place.iterdir()), "the project is empty still: it went to Ansible's home"
    return project


def example(language: str, starts: str) -> str:
    """Return the block of code of the collection's README that starts with these words: it is what runs."""
    readme = (TOP / "playbooks/README.md").read_text()
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)
    return next(block for block in blocks if block.startswith(starts))


def variables(values: Mapping[str, Any]) -> list[str]:
    """Return arguments that give extra vars."""
    import json

    return ["-e", json.dumps(values)]
