"""Reads a Linux node and prints what it saw as one JSON document; it never writes."""

import sys

__version__ = "0.1.0"

BUNDLED = bool(getattr(sys.modules.get("__main__"), "HOSTAUDIT_BUNDLE", False))
"""This is the one file that a host gets (``hostaudit.bundle``), and no installed package."""
