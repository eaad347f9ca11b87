from __future__ import annotations

import json
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hostaudit import delivery
from hostaudit.delivery import Answer, Request
from hostaudit.delivery.sudo import SudoPrompt, refusal
from hostaudit.failures import HostError
from hostaudit.local import LocalPipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERSIONS = Path("~/.pyenv/versions").expanduser()
PYTHONS = {sys.executable: sys.version_info[:2]} | {
    str(p): tuple(int(n) for n in p.parts[-3].split(".")[:2]) for p in sorted(VERSIONS.glob("3.*.*/bin/python"))
}
"""Interpreters of this machine, by version: this one, and those that pyenv installed."""


class Script:
    """A pipe that says what it was told to say."""

    def __init__(self, *said: tuple[bytes, bytes], status: int | None = 0) -> None:
        self.said = iter(said)
        self.sent = b""
        self._status = status

    def send(self, data: bytes) -> None:
        self.sent += data

    def receive(self, seconds: float) -> tuple[bytes, bytes, bool]:
        assert seconds > 0
        out, err = next(self.said, (b"", b""))
        return out, err, not (out or err)

    def status(self) -> int | None:
        return self._status


def frame(
    request: Request, body: bytes = b"{}", code: int = 0, stderr: bytes = b"", length: int | None = None
) -> bytes:
    packed = zlib.compress(body)
    numbers = f"{code} {len(body) if length is None else length} {len(packed)} {len(stderr)}"
    return f"\n{request.nonce} answer {numbers}\n".encode() + packed + stderr + f"\n{request.nonce} end\n".encode()


def run(request: Request, *said: tuple[bytes, bytes], status: int | None = 0, seconds: float = 5) -> Answer:
    return delivery.run(Script(*said, status=status), request, "web1", time.monotonic() + seconds)


def failure(request: Request, *said: tuple[bytes, bytes], status: int | None = 0) -> HostError:
    with pytest.raises(HostError) as caught:
        run(request, *said, status=status)
    assert "web1" in caught.value.reason
    return caught.value


@pytest.fixture
def request_() -> Request:
    return Request(b"agent", max_output=1000)


def test_noise_around_the_answer_and_any_split_of_it_do_no_harm(request_: Request) -> None:
    data = b"banner\n" + request_.nonce.encode() + b" is echoed\n" + frame(request_, b'{"a": 1}', 3, b"oops") + b"bye"
    for size in (1, 7, len(data)):
        parts = [(data[i : i + size], b"noise") for i in range(0, len(data), size)]
        assert run(request_, *parts) == Answer(b'{"a": 1}', 3, b"oops")


def test_everything_goes_to_stdin_and_nothing_else_is_needed(request_: Request) -> None:
    pipe = Script((frame(request_), b""))
    delivery.run(pipe, request_, "web1", time.monotonic() + 5)
    assert pipe.sent == request_.program
    assert pipe.sent.endswith(b"agent")


def test_an_answer_without_an_end_is_refused(request_: Request) -> None:
    assert failure(request_, (frame(request_)[:40], b"")).kind == "output"


def test_too_much_is_refused_however_it_comes(request_: Request) -> None:
    assert "more than the 1000" in failure(request_, (frame(request_, b"", length=5000), b"")).reason
    bomb = zlib.compress(b"x" * 5_000_000)
    header = f"\n{request_.nonce} answer 0 10 {len(bomb)} 0\n".encode()
    assert "more than 1000 bytes" in failure(request_, (header + bomb, b"")).reason
    assert "without an answer" in failure(request_, *([(b"x" * 100_000, b"")] * 20)).reason


def test_a_damaged_answer_is_refused(request_: Request) -> None:
    assert "damaged" in failure(request_, (frame(request_).replace(b"answer 0", b"answer x"), b"")).reason
    assert "damaged" in failure(request_, (f"\n{request_.nonce} answer 0 3 3 0\nabc\n".encode(), b"")).reason


def test_silence_and_words_without_an_answer(request_: Request) -> None:
    assert failure(request_).reason.startswith("web1 ended with exit code 0 without an answer and without a word")
    said = failure(request_, (b"\x1b[2JThis account is \x9b not available", b""), status=1)
    assert said.kind == "output"
    assert "exit code 1" in said.reason
    assert said.reason.isprintable()


def test_python_is_missing_old_or_ancient(request_: Request) -> None:
    missing = failure(request_, (f"\n{request_.nonce} nopython\n".encode(), b""), status=87)
    assert (missing.kind, "has no python3" in missing.reason) == ("python", True)
    old = failure(request_, (f"\n{request_.nonce} nopython python3\n".encode(), b"3.6.8 (default, Nov)"), status=87)
    assert (old.kind, "older than 3.9 (3.6.8)" in old.reason) == ("python", True)
    ancient = failure(request_, (b"", b"Unknown option: -I\nusage: python"), status=2)
    assert (ancient.kind, "Python 2" in ancient.reason) == ("python", True)


def test_no_answer_in_time_is_told_with_what_was_heard(request_: Request) -> None:
    with pytest.raises(HostError) as caught:
        delivery.run(Script((b"hello", b"")), request_, "web1", time.monotonic() - 1)
    assert caught.value.kind == "timeout"


@pytest.mark.parametrize("become", [False, True])
def test_the_command_is_one_line_that_any_login_shell_passes_on(become: bool) -> None:
    request = Request(b"", become=become, become_password="geheim" if become else "", python=("/usr/bin/env", "py"))
    command = request.command
    assert not set(command) & set("\n!`")
    assert command.count("'") == (6 if become else 2)  # single quotes only where the shell's words begin and end
    assert "geheim" not in command
    assert "geheim" not in repr(request)


def test_the_password_is_sent_once_when_it_is_asked_for() -> None:
    request = Request(b"agent", become=True, become_password="pw")
    prompt, ready = f"{request.nonce} prompt".encode(), f"\n{request.nonce} ready\n".encode()
    pipe = Script((b"motd", b"lecture"), (b"", prompt), (ready, b""), (frame(request), b""))
    assert delivery.run(pipe, request, "web1", time.monotonic() + 5).code == 0
    assert pipe.sent == b"pw\n" + request.program
    unasked = Script((ready, b""), (frame(request), b""))
    delivery.run(unasked, request, "web1", time.monotonic() + 5)
    assert unasked.sent == request.program
    wrong = failure(request, (b"", prompt), (b"", b"\nSorry, try again.\n" + prompt))
    assert (wrong.kind, "does not accept the password" in wrong.reason, "pw" in wrong.reason) == ("sudo", True, False)


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (b"sudo: a password is required", "-K"),
        (b"sudo: sorry, you must have a tty to run sudo", "requiretty"),
        (b"bob is not in the sudoers file.", "not in sudoers"),
        (b"Sorry, user bob is not allowed to execute '/bin/sh' as root", "does not let the user run /bin/sh"),
        (b"sudo: unknown user: dbadmin", "no such user"),
        (b"sudo: parse error in /etc/sudoers near line 3", "parse error"),
    ],
)
def test_sudo_s_refusals_say_what_to_do(said: bytes, means: str) -> None:
    assert means in refusal(b"", said, b"n", "web1")
    assert refusal(b"\nn ready\n", said, b"n", "web1") == ""


def test_a_prompt_is_answered_once() -> None:
    prompt = SudoPrompt(b"P", "pw", "web1")
    assert [prompt.reply(e) for e in (b"", b"P", b"P")] == [b"", b"pw\n", b""]


# ---- the loader, for real ---------------------------------------------------------------------------------------


@pytest.fixture
def locally() -> Iterator[Callable[[Request, str], Answer]]:
    """Return what runs a request on this machine, its command wrapped by a shell's prefix."""
    pipes: list[LocalPipe] = []

    def run_locally(request: Request, prefix: str = "") -> Answer:
        pipes.append(LocalPipe(prefix + request.command))
        return delivery.run(pipes[-1], request, "here", time.monotonic() + 20)

    yield run_locally
    for pipe in pipes:
        pipe.close()


def agent(source: str) -> bytes:
    from io import BytesIO
    from zipfile import ZipFile

    file = BytesIO()
    with ZipFile(file, "w") as archive:
        archive.writestr("helper.py", "VALUE = 7\n")
        archive.writestr("__main__.py", source)
    return file.getvalue()


WHOLE = """
import dataclasses, helper, json, os, subprocess, sys
print(json.dumps({"argv": sys.argv[1:], "helper": helper.VALUE, "nice": os.nice(0), "isolated": sys.flags.isolated,
    "no_site": sys.flags.no_site, "stdin": sys.stdin.read(), "file": __name__}))
print("to stderr", file=sys.stderr)
"""


@pytest.mark.parametrize("python", PYTHONS, ids=lambda p: ".".join(map(str, PYTHONS[p])))
def test_the_agent_runs_on_every_python_and_old_ones_say_so(python: str, locally: Callable[[Request], Answer]) -> None:
    if PYTHONS[python] < (3, 9):
        with pytest.raises(HostError, match=r"older than 3\.9 \(3"):
            locally(Request(agent(WHOLE), python=(python,)))
        return
    answer = locally(Request(agent(WHOLE), ("--interval", 'it\'s "2"'), python=(python,)))
    found = json.loads(answer.body)
    assert found.pop("nice") >= 10
    assert found == {
        "argv": ["--interval", 'it\'s "2"'],
        "helper": 7,
        "isolated": 1,
        "no_site": 1,
        "stdin": "",
        "file": "__main__",
    }
    assert (answer.code, answer.stderr) == (0, b"to stderr\n")


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        ("import sys; sys.exit(4)", 4, b""),
        ("import sys; sys.exit('no')", 1, b"no\n"),
        ("raise ValueError('broken')", 1, b"ValueError: broken"),
        ("import os; os.system('echo x; echo y >&2')", 0, b"y\n"),
        ("import absent_module", 1, b"absent_module"),
    ],
)
def test_how_the_agent_ends_is_told(source: str, code: int, says: bytes, locally: Callable[[Request], Answer]) -> None:
    answer = locally(Request(agent(source), python=(sys.executable,)))
    assert answer.code == code
    assert says in answer.stderr


def test_an_agent_that_dies_leaves_no_answer(locally: Callable[[Request], Answer]) -> None:
    with pytest.raises(HostError, match="ended with exit code 137 without an answer"):
        locally(Request(agent("import os; os.kill(os.getpid(), 9)"), python=(sys.executable,)))


def test_an_agent_nobody_waits_for_ends_by_itself(locally: Callable[[Request], Answer]) -> None:
    began = time.monotonic()
    with pytest.raises(HostError):
        locally(Request(agent("import time; time.sleep(60)"), python=(sys.executable,), seconds=1))
    assert time.monotonic() - began < 5


def test_too_long_an_answer_is_not_sent(locally: Callable[[Request], Answer]) -> None:
    with pytest.raises(HostError, match="answered 50001 bytes"):
        locally(Request(agent("print('x' * 50000)"), python=(sys.executable,), max_output=1000))


def test_where_there_is_no_memfd_an_unlinked_file_does(tmp_path: Path) -> None:
    request = Request(agent("print('{}')"))
    loader = b"import os\ndel os.memfd_create\n" + request.loader
    program = f"import sys; exec(sys.stdin.buffer.read({len(loader)}))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        input=loader + request.agent,
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    assert f"\n{request.nonce} answer 0 3 ".encode() in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.lab
def test_a_read_only_disk_costs_nothing(locally: Callable[[Request, str], Answer]) -> None:
    """Nothing on this host can be written, as after a file system error."""
    import os

    if os.geteuid() != 0:
        pytest.skip("needs root, for a mount namespace")
    check = "import os\ntry:\n    open('/tmp/x', 'w')\nexcept OSError as e:\n    print(e.errno)\n"
    remount = (
        "for d in /tmp /dev/shm /run /var/tmp; do mount -t tmpfs -o ro tmpfs $d; done; mount -o remount,bind,ro /; "
        'exec /bin/sh -c "$0"'
    )
    request = Request(agent(check), python=("/usr/bin/python3",))
    inner = request.command.removeprefix("exec ").replace("'", "'\\''")
    answer = locally(request, f"exec unshare --mount --propagation private /bin/sh -c '{remount}' '{inner}' #")
    assert answer.body == b"30\n"  # EROFS
