"""A journal in SQLite, and one in a PostgreSQL server of its own: Debian's package, a new cluster, loopback only."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hostaudit.journal import Actor, Entry, Journal, Kind

ALICE = Actor("alice", "admin1", "192.0.2.7 50022 192.0.2.1 22")
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def postgresql():
    """Give the URL of a server (without database) and its superuser's command line; skip without root or package."""
    if os.geteuid() != 0:
        pytest.skip("needs root: PostgreSQL is started as the user postgres")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    if not programs:
        pytest.skip("needs Debian's package postgresql: tools/lab packages")
    user = pwd.getpwnam("postgres").pw_uid
    folder = Path(tempfile.mkdtemp(prefix="ha-pg"))
    shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    make = [programs[-1] / "initdb", "-D", data, "-A", "trust", "-E", "UTF8", "--no-sync", "--no-locale"]
    subprocess.run(make, user=user, check=True, cwd="/", capture_output=True)
    start = [programs[-1] / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(start, user=user, cwd="/", stdout=log, stderr=log)
    try:
        for _ in range(200):
            ready = subprocess.run([programs[-1] / "pg_isready", "-h", "127.0.0.1", "-p", str(port)], check=False)
            if ready.returncode == 0 or server.poll() is not None:
                break
            time.sleep(0.05)
        assert ready.returncode == 0, (folder / "log").read_text()
        psql = [str(programs[-1] / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(port)]
        yield f"postgresql://postgres@127.0.0.1:{port}", [*psql, "-U", "postgres"]
    finally:
        server.send_signal(signal.SIGINT)  # its fast shutdown: SIGTERM waits for clients
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.lab)])
def address(request, tmp_path):
    """Give the URL of a new, empty database, once for each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/journal.db"
    server, psql = request.getfixturevalue("postgresql")
    name = f"t{os.getpid()}_{time.monotonic_ns()}"
    subprocess.run([*psql, "-c", f"CREATE DATABASE {name}", "postgres"], check=True)
    return f"{server}/{name}"


@pytest.fixture
def journal(address):
    with Journal.open(address) as opened:
        yield opened


@pytest.fixture
def entry():
    """Give a function that makes an entry, each a minute after the one before."""
    made = 0

    def make(kind=Kind.NOTE, **more):
        nonlocal made
        made += 1
        return Entry(kind, NOON + timedelta(minutes=made - 1), ALICE, **more)

    return make
