"""Files of the node, below a root that tests and captured trees can move."""

from __future__ import annotations

import os


class Root:
    """Reads below ``top``. Every pseudo-file is read whole, in one call, without ``stat``.

    Absence is answered with ``None``; any other failure is the ``OSError`` itself, which the collectors turn into an
    ``Unread`` entry.
    """

    def __init__(self, top: str = "/") -> None:
        self.top = top.rstrip("/")

    def path(self, name: str) -> str:
        """Return the real path of ``/name``."""
        return self.top + "/" + name.lstrip("/")

    def read_bytes(self, name: str) -> bytes | None:
        """Return the file's content, ``None`` where there is no such file."""
        try:
            with open(self.path(name), "rb", buffering=0) as f:
                return f.readall()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_text(self, name: str) -> str | None:
        """Return the file's content as text; bytes that are not UTF-8 survive as surrogates."""
        data = self.read_bytes(name)
        return None if data is None else data.decode("utf-8", "replace")

    def read_int(self, name: str) -> int | None:
        """Return the file's only number, ``None`` where there is no such file.

        Raises ValueError when the content is not a number.
        """
        text = self.read_text(name)
        return None if text is None else int(text)

    def names(self, directory: str) -> list[str]:
        """Return the sorted names in a directory; none where there is no such directory."""
        try:
            return sorted(os.listdir(self.path(directory)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def exists(self, name: str) -> bool:
        """Tell whether the name is there (a dangling link is)."""
        return os.path.lexists(self.path(name))
