"""``python -m hostaudit``."""

import sys

from hostaudit.cli import main

sys.exit(main())
