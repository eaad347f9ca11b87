"""Does a packet get through? Two small programs that run inside hosts and their namespaces, and what starts them."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from labkit import hosts

# A server that answers any datagram with two bytes, and closes every connection; port 80.
# A client that sends one datagram of SIZE bytes from a new port, or opens a connection, and says "yes" or "no" after
# three seconds at most, for a busy machine; with a number it goes on, so many times, a tenth of a second apart.
PROGRAMS = """\
cat >/tmp/answer.py <<'END'
import select, socket, sys
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind((sys.argv[1], 80))
t = socket.create_server((sys.argv[1], 80), backlog=64)
while True:
    for s in select.select([u, t], [], [])[0]:
        if s is u:
            data, sender = u.recvfrom(65536)
            u.sendto(b"ok", sender)
        else:
            t.accept()[0].close()
END
cat >/tmp/ask.py <<'END'
import socket, sys, time
kind, target, source, size, times = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
for n in range(times):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as s:
        s.settimeout(0.1 if times > 1 else 3)
        try:
            s.bind(("" if source == "any" else source, 0))
            s.connect((target, 80))
            if kind == "udp":
                s.send(b"x" * size)
                s.recv(9)
            said = "yes"
        except OSError:
            said = "no"
    if times == 1:
        print(said)
    else:
        time.sleep(0.1)
END
"""


def answers(address: str, space: str = "") -> str:
    """Return a line of shell that starts the server, in a namespace of the host where one is named."""
    return f"setsid {_in(space)}python3 /tmp/answer.py {address} </dev/null >/dev/null 2>&1 &\n"


def ask(target: str, space: str = "", *, kind: str = "udp", size: int = 10, source: str = "any", times: int = 1) -> str:
    """Return the command that asks the server once, or so many times."""
    return f"{_in(space)}python3 /tmp/ask.py {kind} {target} {source} {size} {times}"


def passing(questions: Mapping[str, tuple[str, str]]) -> dict[str, bool]:
    """Ask all at once, name -> host and command of ``ask``; return for each whether it was answered."""
    with ThreadPoolExecutor(len(questions)) as pool:
        said = pool.map(lambda question: hosts.script(*question).strip(), questions.values())
    return {name: one == "yes" for name, one in zip(questions, said, strict=True)}


def _in(space: str) -> str:
    return f"ip netns exec {space} " if space else ""
