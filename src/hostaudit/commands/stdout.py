"""What machines and pagers read."""

from __future__ import annotations

import os
import sys


def emit(text: str) -> None:
    """Write to stdout, all of it; a reader that went away (``| head``) is not a failure of ours."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at exit and would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
