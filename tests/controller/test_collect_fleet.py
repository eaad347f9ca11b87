"""Real sshd, real failures: what each kind of host becomes."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit import border
from hostaudit.collect import CollectOptions, collect
from hostaudit.login import Flags
from hostaudit.model import Collected, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hostaudit.model import Host

pytestmark = pytest.mark.lab

QUICK = CollectOptions(interval=0, connect_timeout=2, run_timeout=3)
LARGE = "document['unread'] = [{'surface': 'x', 'reason': os.urandom(20000).hex()}]"
Fleet = Any  # the fixture's class stands in conftest.py, which is no module to import from


@pytest.fixture
def agent(fake_agent: Callable[[str], bytes]) -> bytes:
    return fake_agent("")


def collected(host: Host, agent: bytes, options: CollectOptions = QUICK) -> Collected:
    (result,) = collect([host], agent, options)
    assert isinstance(result, Collected), result
    return result


def unreachable(host: Host, agent: bytes, options: CollectOptions = QUICK) -> Unreachable:
    (result,) = collect([host], agent, options)
    assert isinstance(result, Unreachable), result
    assert result.reason.isprintable()
    return result


@pytest.mark.parametrize("user", ["plain", "noisy"])
def test_a_host_answers_whatever_its_shell_prints_around(fleet: Fleet, agent: bytes, user: str) -> None:
    result = collected(fleet.host(user), agent)
    assert result.snapshot.privileged is False
    assert result.snapshot.platform is not None
    assert result.snapshot.platform.hostname == "--interval 0"


def test_many_hosts_keep_their_order_and_progress_is_told(fleet: Fleet, agent: bytes) -> None:
    hosts = [fleet.host("nologin" if n % 7 == 0 else "plain", n) for n in range(1, 41)]
    seen: list[str] = []
    results = collect(hosts, agent, QUICK, lambda r: seen.append(r.host.name))
    assert [r.host.name for r in results] == [h.name for h in hosts]
    assert sorted(seen) == sorted(h.name for h in hosts)
    assert [isinstance(r, Unreachable) for r in results] == [n % 7 == 0 for n in range(1, 41)]


@pytest.mark.parametrize(
    ("user", "kind", "says"),
    [
        ("garbage", "output", "exit code 3 without an answer"),
        ("flood", "output", "without an answer: 'hello hello"),
        ("hang", "timeout", "its answer did not come within 3 s"),
        ("nopython", "python", "has no python3"),
        ("nologin", "output", "This account is currently not available."),
    ],
)
def test_hosts_that_do_not_answer(fleet: Fleet, agent: bytes, user: str, kind: str, says: str) -> None:
    result = unreachable(fleet.host(user), agent)
    assert (result.kind, says in result.reason) == (kind, True), result.reason
    assert result.seconds < 5


def test_an_answer_that_stops_in_the_middle(fleet: Fleet, fake_agent: Callable[[str], bytes]) -> None:
    result = unreachable(fleet.host("cut"), fake_agent(LARGE))
    assert (result.kind, "stopped in the middle" in result.reason) == ("timeout", True)


def test_an_answer_that_is_no_snapshot(fleet: Fleet, fake_agent: Callable[[str], bytes]) -> None:
    wrong = unreachable(fleet.host("plain"), fake_agent("document['taken'] = 'now'"))
    assert (wrong.kind, "$.taken" in wrong.reason) == ("output", True)
    broken = unreachable(fleet.host("plain"), fake_agent("raise OSError('no /proc here')"))
    assert (broken.kind, "no /proc here" in broken.reason) == ("agent", True)


def test_an_old_python_says_so_and_a_newer_one_beside_it_is_found(fleet: Fleet, agent: bytes) -> None:
    if not fleet.old_python:
        pytest.skip("needs a Python older than 3.9 that pyenv installed")
    result = unreachable(fleet.host("oldpython"), agent)
    assert (result.kind, "older than 3.9 (3." in result.reason) == ("python", True)
    assert collected(fleet.host("newbeside"), agent).snapshot.privileged


# ---- the way there ----------------------------------------------------------------------------------------------


def test_a_refused_and_a_silent_and_a_dead_port(fleet: Fleet, agent: bytes) -> None:
    with socket.create_server(("127.77.0.1", 0)) as silent, socket.socket() as full, socket.socket() as closed:
        full.bind(("127.77.0.1", 0))
        full.listen(0)
        closed.bind(("127.77.0.1", 0))
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        hosts = [fleet.host("plain", ansible_port=s.getsockname()[1]) for s in (closed, silent, full)]
        refused, mute, dead = collect(hosts, agent, QUICK)
        for filler in fillers:
            filler.close()
    assert isinstance(refused, Unreachable)
    assert isinstance(mute, Unreachable)
    assert isinstance(dead, Unreachable)
    assert (refused.kind, "refuses connections" in refused.reason) == ("connect", True)
    assert (mute.kind, "does not greet as an SSH server" in mute.reason) == ("timeout", True)
    assert (dead.kind, "does not answer on port" in dead.reason) == ("timeout", True)
    assert max(r.seconds for r in (refused, mute, dead)) < 4


def test_something_that_is_no_ssh_server(fleet: Fleet, agent: bytes) -> None:
    with socket.create_server(("127.77.0.1", 0)) as web:

        def serve() -> None:
            connection = web.accept()[0]
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        result = unreachable(fleet.host("plain", ansible_port=web.getsockname()[1]), agent)
    assert (result.kind, "not as an SSH server" in result.reason) == ("connect", True), result.reason


@pytest.mark.parametrize("name", ["no..name", "no such host"])
def test_a_name_that_cannot_be_resolved(fleet: Fleet, agent: bytes, name: str) -> None:
    result = unreachable(fleet.host("plain", ansible_host=name), agent)
    assert (result.kind, "cannot be resolved" in result.reason) == ("connect", True)


def test_jump_hosts_are_checked_and_passed(fleet: Fleet, agent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    config = fleet.directory / "jump-config"
    config.write_text(f"Host 127.77.0.*\n IdentityFile {fleet.directory}/id\n Include {fleet.directory}/config\n")
    via = [
        fleet.host("plain", n, ansible_ssh_common_args=f"-F {config} -J {jump}")
        for n, jump in (
            (1, f"plain@127.77.0.50:{fleet.port},plain@127.77.0.51:{fleet.port}"),
            (2, f"plain@127.77.0.50:{fleet.port},plain@127.77.0.51:{fleet.port}"),
            (3, f"plain@127.77.0.60:{fleet.port}"),
            (4, f"wrong@127.77.0.50:{fleet.port}"),
        )
    ]
    closed = fleet.host("plain", 5, ansible_port=1, ansible_ssh_common_args=via[0].variables["ansible_ssh_common_args"])
    one, two, changed, refused, behind = collect([*via, closed], agent, QUICK)
    assert isinstance(one, Collected), one
    assert isinstance(two, Collected), two
    assert isinstance(changed, Unreachable)
    assert (changed.kind, changed.reason.startswith("jump host: THE HOST KEY")) == ("host-key", True)
    assert isinstance(refused, Unreachable)
    assert (refused.kind, "jump host: " in refused.reason) == ("auth", True)
    assert isinstance(behind, Unreachable)
    assert (behind.kind, "the jump host cannot connect to" in behind.reason) == ("connect", True)
    assert caplog.records == []


def test_a_proxy_command_is_used_and_its_words_are_told(fleet: Fleet, agent: bytes) -> None:
    relay = (
        "import socket,sys,threading,os;s=socket.create_connection((sys.argv[1],int(sys.argv[2])));"
        "threading.Thread(target=lambda:[os.write(1,d) for d in iter(lambda:s.recv(65536),b'')],daemon=True).start();"
        "[s.sendall(d) for d in iter(lambda:os.read(0,65536),b'')]"
    )
    script = fleet.directory / "relay.py"
    script.write_text(relay)
    args = f"-F {fleet.directory}/config -o ProxyCommand="
    host = fleet.host("plain", ansible_ssh_common_args=f"{args}'{fleet.python} {script} %h %p'")
    assert collected(host, agent).snapshot.privileged is False
    broken = fleet.host("plain", ansible_ssh_common_args=f"{args}'echo proxy is down >&2; exit 1'")
    result = unreachable(broken, agent)
    assert (result.kind, "proxy is down" in result.reason) == ("connect", True), result.reason


# ---- who are you ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (64, "is not known: no [127.77.0.64]:"),
        (60, "HAS CHANGED"),
        (62, "REVOKED"),
        (63, "certificate authority"),
    ],
)
def test_strict_host_keys(fleet: Fleet, agent: bytes, number: int, says: str) -> None:
    result = unreachable(fleet.host("plain", number), agent)
    assert (result.kind, says in result.reason) == ("host-key", True)
    key = (fleet.directory / "host_ed25519.pub").read_text()
    shown = subprocess.run(["ssh-keygen", "-lf", "-"], input=key, check=True, capture_output=True, text=True).stdout
    assert shown.split()[1] in result.reason
    assert f"{fleet.directory}/known_hosts" in result.reason


def test_the_known_type_of_key_is_asked_for_first(fleet: Fleet, agent: bytes) -> None:
    """The host offers ed25519 first; only its rsa key is known."""
    assert collected(fleet.host("plain", 61), agent).host.name == "plain61"


def test_a_key_is_taken_unseen_only_where_the_user_says_so(fleet: Fleet, agent: bytes) -> None:
    before = (fleet.directory / "known_hosts").read_bytes()
    args = f"-F {fleet.directory}/config -o StrictHostKeyChecking="
    assert collected(fleet.host("plain", 64, ansible_ssh_common_args=args + "no"), agent)
    assert collected(fleet.host("plain", 64, ansible_ssh_common_args=args + "accept-new"), agent)
    assert collected(fleet.host("plain", 64, ansible_host_key_checking=False), agent)
    assert unreachable(fleet.host("plain", 60, ansible_ssh_common_args=args + "accept-new"), agent).kind == "host-key"
    assert (fleet.directory / "known_hosts").read_bytes() == before


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"ansible_ssh_private_key_file": "other"}, "refuses user 'plain': tried key"),
        ({"ansible_ssh_private_key_file": "locked"}, "protected by a passphrase"),
        ({"ansible_ssh_private_key_file": "absent"}, "there is no such file"),
        ({"ansible_ssh_private_key_file": "known_hosts"}, "not a private key"),
        ({"ansible_ssh_private_key_file": "absent", "ansible_password": "wr0ng"}, "tried the password"),
        ({"ansible_user": "nobodyhere"}, "refuses user 'nobodyhere'"),
    ],
)
def test_a_login_that_fails_says_who_and_with_what(
    fleet: Fleet, agent: bytes, variables: dict[str, str], says: str
) -> None:
    given = {k: str(fleet.directory / v) if k.endswith("key_file") else v for k, v in variables.items()}
    result = unreachable(fleet.host("plain", **given), agent)
    assert (result.kind, says in result.reason) == ("auth", True), result.reason
    assert "wr0ng" not in result.reason


def test_a_password_logs_in(fleet: Fleet, agent: bytes) -> None:
    host = fleet.host("plain", ansible_ssh_private_key_file="", ansible_password=fleet.password)
    assert collected(host, agent).snapshot.privileged is False


@pytest.fixture
def ssh_agent(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run an ssh agent that holds the key whose file is locked."""
    path = fleet.directory / "agent.sock"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    ask = fleet.directory / "askpass"
    ask.write_text("#!/bin/sh\necho secret\n")
    ask.chmod(0o700)
    while not path.exists():
        time.sleep(0.01)
    environment = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-q", fleet.directory / "locked"], check=True, env=environment)
    yield
    process.terminate()
    process.wait(5)


@pytest.mark.usefixtures("ssh_agent")
def test_the_agent_s_keys_are_used(fleet: Fleet, agent: bytes) -> None:
    args = f"-F none -o UserKnownHostsFile={fleet.directory}/known_hosts"
    any_key = fleet.host("plain", 1, ansible_ssh_private_key_file="", ansible_ssh_common_args=args)
    locked = str(fleet.directory / "locked")
    this_key = fleet.host("plain", 2, ansible_ssh_private_key_file=locked, ansible_ssh_common_args=args)
    assert [type(r) for r in collect([any_key, this_key], agent, QUICK)] == [Collected, Collected]
    without = fleet.host("plain", 3, ansible_ssh_private_key_file=locked)  # its configuration says IdentityAgent none
    assert unreachable(without, agent).kind == "auth"


# ---- becoming root ----------------------------------------------------------------------------------------------


def test_sudo_with_and_without_a_password(fleet: Fleet, agent: bytes) -> None:
    become = Flags(become=True)
    options = CollectOptions(interval=0, connect_timeout=2, run_timeout=5, flags=become)
    asked = CollectOptions(
        interval=0, connect_timeout=2, run_timeout=5, flags=Flags(become=True, become_password=fleet.password)
    )
    assert collected(fleet.host("sudofree"), agent, options).snapshot.privileged
    assert collected(fleet.host("sudofree"), agent, asked).snapshot.privileged
    assert collected(fleet.host("sudopass"), agent, asked).snapshot.privileged
    assert collected(fleet.host("root", ansible_python_interpreter=fleet.python), agent, options).snapshot.privileged
    assert not collected(fleet.host("sudofree", ansible_become=False), agent, options).snapshot.privileged


@pytest.mark.parametrize(
    ("user", "password", "says"),
    [
        ("sudopass", "", "sudo asks for a password"),
        ("sudopass", "wr0ng", "does not accept the password"),
        ("sudonot", "right", "not in sudoers"),
        ("sudotty", "", "requiretty"),
        ("nosudo", "", "has no sudo"),
    ],
)
def test_sudo_that_refuses(fleet: Fleet, agent: bytes, user: str, password: str, says: str) -> None:
    secret = fleet.password if password == "right" else password
    host = fleet.host(user, ansible_become=True, ansible_become_password=secret)
    result = unreachable(host, agent, CollectOptions(interval=0, run_timeout=6))
    assert (result.kind, says in result.reason) == ("sudo", True), result.reason
    assert not secret or secret not in result.reason


# ---- the whole --------------------------------------------------------------------------------------------------


class Throttle:
    """A TCP proxy with a delay each way and a rate, both of a bad link."""

    def __init__(self, target: tuple[str, int], delay: float, rate: float) -> None:
        self.target, self.delay, self.rate = target, delay, rate
        self.server = socket.create_server(("127.77.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        client = self.server.accept()[0]
        host = socket.create_connection(self.target)
        for source, sink in ((client, host), (host, client)):
            threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        free = 0.0
        while data := source.recv(2000):
            free = max(free, time.monotonic()) + len(data) / self.rate
            threading.Timer(free + self.delay - time.monotonic(), self._put, (sink, data)).start()

    @staticmethod
    def _put(sink: socket.socket, data: bytes) -> None:
        try:
            sink.sendall(data)
        except OSError:
            return


def test_a_slow_link_still_answers(fleet: Fleet, fake_agent: Callable[[str], bytes]) -> None:
    """150 ms each way and 20 kB/s."""
    link = Throttle(("127.77.0.1", fleet.port), 0.15, 20_000)
    name = f"-F {fleet.directory}/config -o HostKeyAlias=slow -o StrictHostKeyChecking=no"
    host = fleet.host("plain", ansible_port=link.port, ansible_ssh_common_args=name)
    result = collected(host, fake_agent(LARGE + f"\n# {os.urandom(8000).hex()}"), CollectOptions(interval=0))
    assert 3 < result.seconds < 15
    link.server.close()


def test_an_interrupt_ends_everything_at_once(fleet: Fleet, agent: bytes) -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.7)
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            collect([fleet.host("hang", n) for n in range(1, 4)], agent, CollectOptions(interval=0))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 1.5


def test_a_bug_costs_one_host_its_answer(fleet: Fleet, agent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_body: bytes, _where: str) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(border, "snapshot", broken)
    result = unreachable(fleet.host("plain"), agent)
    assert (result.kind, "ZeroDivisionError: oops" in result.reason) == ("agent", True)


def test_settings_that_are_not_followed_are_told_once(fleet: Fleet, agent: bytes) -> None:
    said: list[str] = []
    args = f"-F {fleet.directory}/config -o Ciphers=aes128-ctr"
    hosts = [fleet.host("plain", n, ansible_ssh_common_args=args) for n in (1, 2, 3)]
    collect(hosts, agent, QUICK, None, said.append)
    assert said == ["ssh argument -o Ciphers=aes128-ctr is not followed by this program"]


def test_nothing_is_left_behind(
    fleet: Fleet, agent: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    collect([fleet.host(u) for u in ("plain", "garbage", "nologin", "hang")], agent, QUICK)
    for _ in range(50):
        alive = [t for t in threading.enumerate() if t is not threading.main_thread() and "pytest" not in t.name]
        if not alive:
            break
        time.sleep(0.1)
    assert alive == []
    assert capfd.readouterr() == ("", "")
