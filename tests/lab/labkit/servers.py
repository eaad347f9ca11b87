"""Small servers inside hosts of the lab, for as long as a test needs them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from labkit import hosts


@contextmanager
def listening(name: str, program: str, *words: str) -> Iterator[None]:
    """Run a Python program inside the host; it has to print ``listening`` once it does."""
    command = hosts.inside(name, "/usr/bin/python3", "-c", program, *words, forking=False)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "listening\n"
        try:
            yield
        finally:
            child.kill()
