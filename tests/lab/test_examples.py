"""examples/change-window works as it is written, and its README shows what came out.

EXAMPLES_UPDATE=1 writes what came out into the README.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from labkit import hosts
from labkit.audit import write_inventory
from labkit.collection import BIN, TOP, Project, installed
from labkit.hosts import Spec
from labkit.plans import HOSTAUDIT, write_plan
from labkit.settings import LAB

pytestmark = pytest.mark.long

EXAMPLE = TOP / "examples/change-window"
NAMES = ("web1", "web2")
SOMAXCONN = "/proc/sys/net/core/somaxconn"
QUICK = {"HOSTAUDIT_VERIFY_SECONDS": "1", "HOSTAUDIT_NO_WATCH": "true", "HOSTAUDIT_CONFIRM_TIMEOUT": "120"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    specs = {"web1": Spec("boot:bookworm", groups=("web",)), "web2": Spec("boot:trixie", groups=("web",))}
    with hosts.up(specs):
        yield installed(tmp_path_factory.mktemp("user"))


@pytest.fixture
def directory(project: Project, tmp_path: Path) -> Path:
    """The example, with addresses of the lab in its inventory."""
    del project
    place = tmp_path / "change-window"
    shutil.copytree(EXAMPLE, place)
    write_inventory(place / "inventory.ini", NAMES)
    return place


def opening(directory: Path, hours: int) -> None:
    """Let the window open so many hours from now."""
    file = directory / "group_vars/web.yml"
    hour = (datetime.now(ZoneInfo("Europe/Berlin")) + timedelta(hours=hours)).hour
    text = file.read_text()
    assert '"0 22 * * *"' in text
    file.write_text(text.replace('"0 22 * * *"', f'"0 {hour} * * *"'))
    policy = directory / "hostaudit.toml"  # and no freeze, whatever the day is
    policy.write_text(policy.read_text().replace("2026-12-18", "2020-12-18").replace("2027-01-06", "2021-01-06"))


def run(project: Project, directory: Path, *words: str) -> tuple[int, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "HOSTAUDIT_"))}
    environment |= QUICK | {
        "ANSIBLE_HOME": str(project.home),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(LAB / "ansible/cp"),
        "HOSTAUDIT_JOURNAL": f"sqlite:///{directory}/journal.db",
        "PATH": f"{BIN}:{HOSTAUDIT.parent}:{os.environ['PATH']}",
        "COLUMNS": "100",
    }
    done = subprocess.run(
        words, check=False, cwd=directory, env=environment, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


def shown(name: str, text: str) -> None:
    """Compare with the README what came out, apart from times, ids and names of people; or write it there."""
    readme = EXAMPLE / "README.md"
    before, start, rest = readme.read_text().partition(f"<!-- {name} -->\n")
    old, end, after = rest.partition(f"<!-- /{name} -->")
    assert start, name
    assert end, name
    text = re.sub(r"\b\w+@\w+\b", "alice@console", text)
    new = f"```\n{text.strip()}\n```\n"
    if os.environ.get("EXAMPLES_UPDATE"):
        readme.write_text(before + start + new + end + after)
    else:
        assert masked(old) == masked(new), "run it with EXAMPLES_UPDATE=1 and look at the difference"


def masked(text: str) -> str:
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?Z?|\d{8}T\d{6}Z-\w+", "TIME", text)
    return " ".join(re.sub(r"\b[0-9a-f]{8}\b", "HASH", text).split())


def values() -> list[str]:
    return [hosts.run(name, "cat", SOMAXCONN).strip() for name in NAMES]


def test_outside_the_window_both_ways_are_refused_and_nothing_is_touched(project: Project, directory: Path) -> None:
    opening(directory, 6)
    code, text = run(project, directory, "./by-playbook.sh", "OPS-7")
    assert code == 75, text
    assert "PLAY" not in text
    plan = write_plan(
        directory / "plan.json", directory / "inventory.ini", "tcp_backlog", {"tcp_backlog_somaxconn": 16384}
    )
    code, text = run(project, directory, "./by-plan.sh", plan.name, "OPS-7")
    assert code == 75, text
    assert values() == ["4096", "4096"]


def test_by_playbook(project: Project, directory: Path) -> None:
    opening(directory, -1)
    code, text = run(project, directory, "./by-playbook.sh", "OPS-7")
    assert code == 0, text
    assert values() == ["16384", "16384"]
    lines = [json.loads(line) for line in hosts.run("web1", "cat", "/var/log/hostaudit/changes.jsonl").splitlines()]
    assert [(line["event"], line["change"]) for line in lines] == [("applied", "OPS-7"), ("confirmed", "OPS-7")]
    shown("changes.jsonl", json.dumps(lines[0], indent=1))
    undo = ["ansible-playbook", "hostaudit.remediation.rollback", "-i", "inventory.ini", "-e", "hostaudit_change=OPS-7"]
    code, text = run(project, directory, *undo)
    assert code == 0, text
    assert values() == ["4096", "4096"]


def test_by_plan_and_what_the_log_shows(project: Project, directory: Path) -> None:
    opening(directory, -1)
    given = {"tcp_backlog_somaxconn": 16384, "tcp_backlog_max_syn_backlog": 16384}
    plan = write_plan(directory / "plan.json", directory / "inventory.ini", "tcp_backlog", given)
    code, text = run(project, directory, "./by-plan.sh", plan.name, "OPS-7")
    assert code == 0, text
    assert values() == ["16384", "16384"]
    code, log = run(project, directory, "hostaudit", "log")
    assert code == 0, log
    assert text.endswith(log)
    shown("log", log)
    change = json.loads(run(project, directory, "hostaudit", "log", "--format", "json")[1].splitlines()[0])["change"]
    code, text = run(project, directory, "hostaudit", "rollback", change, "-i", "inventory.ini", "--reason", "a trial")
    assert code == 0, text
    assert values() == ["4096", "4096"]
