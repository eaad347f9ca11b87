"""Reads a Linux node and prints what it saw as one JSON document; it never writes."""

__version__ = "0.1.0"
