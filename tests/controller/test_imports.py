"""What each command imports: a library that is not used is not waited for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = {"alembic", "ansible_runner", "fabric", "jinja2", "msgspec", "paramiko", "rich", "sqlalchemy"}
"""Each costs 10 to 200 ms of start-up."""
CODE = """
import json, sys
from hostaudit.cli import main
code = main(sys.argv[1:])
sys.stderr.write("\\n" + json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def imported(folder: Path, *arguments: str) -> set[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HOSTAUDIT_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**environment, "HOME": str(folder)},
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code in {0, 8}, done.stderr
    return HEAVY & set(modules)


@pytest.mark.parametrize(
    ("arguments", "used"),
    [
        (["--help"], set()),
        (["--version"], set()),
        (["run", "--help"], set()),
        (["explain", "--help"], set()),
        (["run", "--interval", "0", "--no-store", "--format", "json"], {"msgspec"}),
        (["run", "--interval", "0", "--no-store", "--format", "prometheus"], {"msgspec"}),
        (["run", "--interval", "0", "--no-store", "--format", "html"], {"msgspec", "jinja2"}),
        (["run", "--interval", "0", "--format", "json"], {"msgspec", "sqlalchemy", "alembic"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_imports_what_it_uses(tmp_path: Path, arguments: list[str], used: set[str]) -> None:
    assert imported(tmp_path, *arguments) == used


def test_a_store_that_is_there_needs_no_migrations(tmp_path: Path) -> None:
    run = ("run", "--interval", "0", "--format", "json")
    assert "alembic" in imported(tmp_path, *run)
    assert "alembic" not in imported(tmp_path, *run)
