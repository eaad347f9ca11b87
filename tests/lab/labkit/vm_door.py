"""Run a command inside a virtual machine, past its sshd and its network; ``sh/vm-door.py`` is the other end.

    vm_door.py SOCKET COMMAND...

Waits while the machine boots. Exit status and output are the command's; 255 where the machine went away meanwhile.
"""

import json
import os
import socket
import sys
import time

LIMIT = 300.0
"""Seconds that a boot and the command may take; a boot takes 20 s, and ten times that on a busy machine."""


def call(door: str, argv: list[str], text: str = "", limit: float = LIMIT) -> tuple[int, str, str]:
    """Return exit status, stdout and stderr; OSError where the machine is gone, TimeoutError where it is silent."""
    number = f"{os.getpid()}-{time.monotonic_ns()}"
    end = time.monotonic() + limit
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(limit)
        s.connect(door)
        # a newline first: it ends what a caller that was killed may have left
        s.sendall(b"\n" + json.dumps({"id": number, "argv": argv, "input": text}).encode() + b"\n")
        rest = b""
        while True:
            s.settimeout(max(end - time.monotonic(), 0.01))
            data = s.recv(1 << 20)
            if not data:
                raise ConnectionResetError("the machine went away")
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                try:
                    said = json.loads(line)
                except ValueError:
                    continue  # the end of an answer to somebody who did not wait
                if said.get("id") == number:
                    return said["code"], said["out"], said["err"]


def main() -> int:
    """Do what the command line says; standard input goes along unless it is a terminal."""
    text = "" if sys.stdin.isatty() else sys.stdin.read()
    try:
        code, out, err = call(sys.argv[1], sys.argv[2:], text)
    except OSError as e:
        code, out, err = 255, "", f"{sys.argv[1]}: {e}\n"
    sys.stdout.write(out)
    sys.stderr.write(err)
    return code


if __name__ == "__main__":
    sys.exit(main())
