"""The application behind the shared address: answers every connection with this worker's name.

worker.py ADDRESS PORT NAME
"""

import contextlib
import socket
import sys
import threading


def serve(connection: socket.socket, name: str) -> None:
    """Wait for the client to speak, answer, close."""
    with connection, contextlib.suppress(OSError):
        connection.settimeout(5)
        if connection.recv(16):
            connection.sendall(name.encode())


def main() -> None:
    """Listen for ever."""
    with socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=128) as listener:
        print("listening", flush=True)
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0], sys.argv[3]), daemon=True).start()


if __name__ == "__main__":
    main()
