"""The agent whole: as the zipapp that a host gets, under every Python that is here."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hostaudit import bundle
from hostaudit_agent.snapshot import SCHEMA, SURFACES, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NODES = Path(__file__).parent.parent / "nodes"
STARTS, PEAK_KIB = 20, 40 * 1024
"""CPU time of the whole agent in starts of the bare interpreter, which a busy machine slows down as well: about 13."""
OLDEST = (3, 9)
COMPILED = """
import builtins, collections, runpy, sys
compiled, real = collections.Counter(), builtins.compile
def counted(source, name, *more, **named):
    compiled[str(name)] += 1
    return real(source, name, *more, **named)
builtins.compile = counted
sys.argv = [sys.argv[1], "--interval=0"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    pass
print({name: times for name, times in compiled.items() if "hostaudit_agent" in name}, file=sys.stderr)
"""


def interpreters() -> dict[str, str]:
    """Return one Python of each version from 3.9 on: those on PATH, and those that pyenv keeps."""
    places = [Path(p) for p in os.environ.get("PATH", "").split(":")]
    found = [str(p / f"python3.{minor}") for p in places for minor in range(9, 20)] + [
        "/usr/bin/python3",
        sys.executable,
    ]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    if os.access(pyenv, os.R_OK | os.X_OK):  # it may be another user's
        found += [str(p) for p in sorted(pyenv.glob("3.*/bin/python"))]
    versions: dict[str, str] = {}
    for path in found:
        if os.access(path, os.X_OK) and "shims" not in path:
            answer = subprocess.run(
                [path, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, check=False
            )
            version = tuple(int(n) for n in answer.stdout.split())
            if answer.returncode == 0 and version >= OLDEST:
                versions.setdefault(".".join(map(str, version)), path)
    return versions


PYTHONS = interpreters()


@pytest.fixture(scope="session")
def agent() -> Iterator[Path]:
    # not pytest's own directory, which every session of pytest closes to other users
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.pyz"
        path.write_bytes(bundle.build())
        path.parent.chmod(0o755)
        yield path


def run(agent: Path, *arguments: str, python: str = sys.executable, prefix: tuple[str, ...] = ()) -> Snapshot:
    done = subprocess.run(
        [*prefix, python, "-I", "-S", str(agent), *arguments],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.stderr == b""
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert done.stdout.count(b"\n") == 1
    return msgspec.json.decode(done.stdout, type=Snapshot)


def bugs(snapshot: Snapshot) -> list[str]:
    return [f"{u.surface}: {u.reason}" for u in snapshot.unread if "bug in the agent" in u.reason]


@pytest.mark.parametrize("version", sorted(PYTHONS))
def test_every_python_reads_this_machine(agent: Path, version: str) -> None:
    found = run(agent, "--interval", "0.05", python=PYTHONS[version])
    assert found.schema == SCHEMA
    assert found.python.startswith(version + ".")
    assert bugs(found) == []
    for surface in SURFACES:
        assert getattr(found, surface) is not None or any(u.surface == surface for u in found.unread)
    assert found.interval >= 0.05
    assert found.counters is not None
    assert found.counters.delta is not None
    assert found.platform is not None
    assert found.platform.kernel == os.uname().release


@pytest.mark.parametrize("version", sorted(PYTHONS))
def test_it_is_light(agent: Path, version: str) -> None:
    python, bare, runs = PYTHONS[version], [], []
    for _ in range(4):
        said = [python, "-I", "-S", "-c", "import time; print(time.process_time() * 1000)"]
        bare.append(float(subprocess.run(said, check=True, capture_output=True).stdout))
        runs.append(run(agent, "--interval=0", python=python))
    assert min(one.cpu_ms for one in runs) <= STARTS * min(bare)
    assert min(one.peak_kib for one in runs) <= PEAK_KIB


@pytest.mark.parametrize("version", sorted(PYTHONS))
def test_each_module_is_compiled_once(agent: Path, version: str) -> None:
    command = [PYTHONS[version], "-I", "-S", "-c", COMPILED, str(agent)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    times = ast.literal_eval(done.stderr)
    assert f"{agent}/hostaudit_agent/collectors/firewall.py" in times
    assert set(times.values()) == {1}


def test_the_oldest_python_is_among_them() -> None:
    if "3.9" not in PYTHONS:
        pytest.skip("needs a Python 3.9 on PATH or in pyenv: it is what the oldest nodes have")


def test_one_sample_has_no_deltas(agent: Path) -> None:
    found = run(agent, "--interval", "0")
    assert found.interval == 0
    assert found.counters is not None
    assert found.counters.delta is None
    assert found.conntrack is None or found.conntrack.delta is None


def test_another_user_gets_what_he_may_see(agent: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: becomes another user")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
    python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
    found = run(agent, "--interval=0", "--all-netns", python=python, prefix=nobody)
    assert found.privileged is False
    assert bugs(found) == []
    assert found.platform is not None
    assert found.sysctl is not None
    assert found.link is not None
    assert found.counters is not None
    assert found.unread, "what needs rights is named"
    assert run(agent, "--interval=0").privileged is True


@pytest.mark.lab
def test_all_namespaces(agent: Path, netns: Callable[[], Any]) -> None:
    space = netns()
    found = run(agent, "--interval=0.05", "--all-netns")
    inside = next(one for one in found.namespaces if one.name == f"netns {space.name}")
    assert inside.link is not None
    assert inside.sysctl is not None
    assert inside.counters is not None
    assert inside.counters.delta is not None
    assert bugs(found) == []


def unpack(node: str, top: Path) -> None:
    for name, content in json.loads((NODES / f"{node}.json").read_text()).items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            path.symlink_to(content["link"])
        else:
            path.write_text(content)


@pytest.mark.parametrize("node", sorted(p.stem for p in NODES.glob("*.json")))
def test_a_captured_node_is_read_like_a_live_one(agent: Path, tmp_path: Path, node: str) -> None:
    unpack(node, tmp_path)
    found = run(agent, "--interval=0", "--root", str(tmp_path))
    assert bugs(found) == []
    assert found.platform is not None
    assert found.sysctl is not None
    assert found.counters is not None
    assert found.counters.totals["softnet.processed"] > 0
    assert found.link is None
    assert [u.reason for u in found.unread if u.surface == "link"]
    getattr(sys.modules[__name__], f"check_{node}")(found)


def configured(found: Snapshot, knob: str) -> str:
    assert found.sysctl is not None
    one = found.sysctl.knobs[knob].configured
    return f"{one.value} {one.file}:{one.line}" if one else ""


def check_debian11(found: Snapshot) -> None:
    assert found.platform is not None
    assert found.sysctl is not None
    assert (found.platform.os_version, found.platform.init) == ("11", "systemd")
    assert (found.platform.container, found.platform.first_netns) == ("systemd-nspawn", False)
    assert found.sysctl.applied_by == "systemd 247"
    assert found.sysctl.not_applied == {}
    assert re.fullmatch(r"1 /etc/sysctl.d/99-sysctl.conf:\d+", configured(found, "net.ipv4.conf.all.rp_filter"))
    assert configured(found, "net.core.somaxconn") == "1024 /etc/sysctl.d/90-web.conf:1"
    assert found.sysctl.knobs["net.core.somaxconn"].running == "1024"
    assert found.sysctl.effective["rp_filter"] == {"eth0": 1, "lo": 1}


def check_pve9(found: Snapshot) -> None:
    assert found.platform is not None
    assert found.sysctl is not None
    assert found.sysctl.applied_by == "systemd 257"
    assert list(found.sysctl.not_applied) == ["/etc/sysctl.conf"]
    assert configured(found, "net.ipv4.conf.all.rp_filter") == "2 /usr/lib/sysctl.d/pve-firewall.conf:1"
    assert configured(found, "net.ipv4.conf.eth0.rp_filter") == "0 /etc/sysctl.d/90-tuning.conf:2"
    assert found.sysctl.effective["rp_filter"]["eth0"] == 2
    limit = found.sysctl.knobs["net.netfilter.nf_conntrack_max"]
    assert (limit.running, limit.configured and limit.configured.value) == ("262144", "1048576")
    node = found.platform.proxmox
    assert node is not None
    assert (node.version, node.node, node.mounted, node.quorate) == ("9.1.2", "pve1", True, True)
    assert (node.cluster_enabled, node.implementation, node.running) == (True, "iptables", True)
    assert node.options == {"nf_conntrack_max": "524288"}
    assert node.ignored == ["/etc/pve/nodes/pve1/host.fw:3: nf_conntrack_allow_invalid: 1 # DSR"]
    assert [(o.name, o.version) for o in found.platform.owners] == [("pve-firewall", "6.0.4")]


def test_nobody_listens(agent: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(agent), "--interval=0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_standard_input_is_left_alone(agent: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"for the next command\n")
    os.close(writing)
    with os.fdopen(reading, "rb") as stdin:
        subprocess.run([sys.executable, str(agent), "--interval=0"], stdin=stdin, capture_output=True, check=True)
        assert stdin.read() == b"for the next command\n"


WATCH = """
import os, runpy, sys
bad = []
def watch(event, args):
    if event == "open" and (set(str(args[1])) & set("wax+") or (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
        bad.append((event, args))
    elif event.split(".")[0] in {"subprocess", "pty", "shutil", "tempfile"} or event in {
        "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "os.forkpty", "os.remove", "os.rename",
        "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.chown", "os.truncate", "os.utime",
        "os.setxattr", "os.kill", "urllib.Request",
    }:
        bad.append((event, args))
sys.addaudithook(watch)
sys.argv = [sys.argv[1], "--interval=0.01", "--census"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as e:
    assert not e.code
assert not bad, bad
"""


def test_it_writes_nothing_and_starts_nothing(agent: Path) -> None:
    done = subprocess.run([sys.executable, "-I", "-c", WATCH, str(agent)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
