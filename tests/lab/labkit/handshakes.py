"""Handshakes from the client's side; a program of its own, because it runs in the client's network namespace.

    handshakes.py ADDRESS PORT burst FIRST COUNT TIMEOUT    COUNT connections per class, all at once
    handshakes.py ADDRESS PORT keep  FIRST SECONDS TIMEOUT  odd source ports only, four at a time, until SECONDS pass

Prints {"even": {RESULT: NUMBER}, "odd": {...}}. RESULT is ``ok via NAME``, ``no answer to the SYN``,
``connected, then silence`` or the error's name. Every connection has a source port of its own: an old entry of
connection tracking would answer for a new connection otherwise.
"""

import json
import socket
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor


def attempt(address: str, port: int, source: int, timeout: float) -> str:
    """Connect, say something, and wait for the worker's name."""
    with socket.socket() as s:
        s.settimeout(timeout)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("", source))
        try:
            s.connect((address, port))
        except TimeoutError:
            return "no answer to the SYN"
        except OSError as e:
            return type(e).__name__
        try:
            s.sendall(b"hi")
            return f"ok via {s.recv(64).decode()}"
        except TimeoutError:
            return "connected, then silence"
        except OSError as e:
            return type(e).__name__


def main() -> None:
    """Read the arguments and print the result."""
    address, port, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    first, many, timeout = int(sys.argv[4]), float(sys.argv[5]), float(sys.argv[6])
    results: dict[str, Counter[str]] = {"even": Counter(), "odd": Counter()}

    def one(source: int) -> None:
        results["odd" if source % 2 else "even"][attempt(address, port, source, timeout)] += 1

    if how == "burst":
        with ThreadPoolExecutor(2 * int(many)) as pool:
            list(pool.map(one, range(first, first + 2 * int(many))))
    else:
        end = time.monotonic() + many
        with ThreadPoolExecutor(4) as pool:
            for batch in range(first | 1, 61000, 8):
                if time.monotonic() > end:
                    break
                list(pool.map(one, range(batch, batch + 8, 2)))
                time.sleep(0.05)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
