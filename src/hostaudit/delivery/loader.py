"""Runs on the host, from memory: takes the agent from stdin, runs it, and frames its answer. Python 3.9, stdlib.

This file is sent as source text; nothing imports it on the controller. It writes to no disk: the agent lies in a
memfd (memfd_create(2)), which /proc/self/fd shows as a file that zipimport can read. Its answer is framed with a nonce
and lengths, so that whatever a login shell prints around it does no harm.
"""

import contextlib
import os
import signal
import sys
import zipimport
import zlib

STDERR_KEPT = 2000
MFD_NOEXEC_SEAL = 8
"""Kernels since 6.3 can demand it (sysctl vm.memfd_noexec = 2); older ones refuse it with EINVAL."""


def anonymous(name: str) -> int:
    """Return a file descriptor of a file that has no name; in memory, or unlinked where there is no memfd."""
    for flags in (MFD_NOEXEC_SEAL, 0):
        try:
            return os.memfd_create(name, flags)
        except (AttributeError, OSError):
            continue
    problem = OSError("no memfd")
    for directory in ("/dev/shm", "/run", "/tmp"):  # noqa: S108 - O_TMPFILE gives the file no name there
        try:
            return os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o600)
        except OSError as error:
            problem = error
    raise problem


def run(archive: int, arguments: "list[str]") -> int:
    """Run the zip application in ``archive`` as ``__main__`` and return its exit code."""
    path = f"/proc/self/fd/{archive}"
    sys.path.insert(0, path)
    sys.argv = [path, *arguments]
    module = type(sys)("__main__")
    sys.modules["__main__"] = module
    try:
        exec(zipimport.zipimporter(path).get_code("__main__"), module.__dict__)  # noqa: S102 - this is its purpose
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        sys.stderr.write(f"{ended.code}\n")
        return 1
    except BaseException:  # noqa: BLE001 - whatever ended the agent is the answer
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def content(descriptor: int, limit: int) -> bytes:
    """Return the last ``limit`` bytes of an anonymous file."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    os.lseek(descriptor, max(0, size - limit), os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return file.read(limit)


def main(nonce: str, size: int, arguments: "list[str]", most: int, seconds: int) -> None:
    """Take ``size`` bytes of agent, run it at low priority for ``seconds`` at most, answer ``most`` bytes at most."""
    data = sys.stdin.buffer.read(size)
    if len(data) != size:
        sys.exit("hostaudit: the connection ended before the agent was here")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    with contextlib.suppress(OSError):  # a container may forbid it
        os.nice(10)
    answer = os.dup(1)
    # where an agent that works with others says that it is ready, and hears that it is over
    os.environ["HOSTAUDIT_LIVE"] = f"{os.dup(0)} {answer} {nonce}"
    archive, out, err = anonymous("hostaudit"), anonymous("out"), anonymous("err")
    with os.fdopen(os.dup(archive), "wb") as file:
        file.write(data)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    code = run(archive, arguments)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 1
    length = os.lseek(out, 0, os.SEEK_END)
    body = zlib.compress(content(out, most), 6) if length <= most else b""
    said = content(err, STDERR_KEPT)
    header = f"\n{nonce} answer {code} {length} {len(body)} {len(said)}\n"
    with os.fdopen(answer, "wb") as file:
        file.write(header.encode() + body + said + f"\n{nonce} end\n".encode())
