#!/usr/bin/python3
"""The way into a virtual machine past its sshd and its network: a serial port that runs commands as root.

One JSON object a line, in both directions: {"id", "argv", "input"} gives {"id", "code", "out", "err"}. It is the lab's
own, as nsenter is for the other kinds of host: a test can look inside while the machine's network is cut.
"""

import json
import subprocess
import time
from pathlib import Path

PORT = Path("/dev/virtio-ports/lab.door")


def answer(line):
    """Run what one line asks for."""
    asked = json.loads(line)
    try:
        done = subprocess.run(
            asked["argv"], input=asked["input"], capture_output=True, text=True, errors="replace", check=False
        )
        code, out, err = done.returncode, done.stdout, done.stderr
    except OSError as e:
        code, out, err = 127, "", str(e)
    return {"id": asked["id"], "code": code, "out": out, "err": err}


def main():
    """Serve for ever; a caller that went away in the middle costs one bad line."""
    with PORT.open("rb+", buffering=0) as port:
        rest = b""
        while True:
            data = port.read(65536)
            if not data:  # nobody holds the other end
                time.sleep(0.1)
                rest = b""
                continue
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                try:
                    said = answer(line)
                except (ValueError, KeyError):
                    continue
                text = json.dumps(said).encode() + b"\n"
                while text:
                    text = text[port.write(text) :]


if __name__ == "__main__":
    main()
