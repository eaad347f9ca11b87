#!/usr/bin/env python3
"""Entry point of the lab: ``sudo python3 tests/lab/lab.py --help``. The code is in ``labkit`` beside it."""

import sys

from labkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
