"""The folder of these tests is a place that modules come from: ``samples``, ``chromium``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
