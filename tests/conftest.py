"""A skipped test says why; in CI, which has everything, it is a failure: a green run must not hide what it left out."""

import os
import signal
import sys
import tempfile
from contextlib import contextmanager

import pytest

_STATE = tempfile.TemporaryDirectory(prefix="hostaudit-state-")
os.environ["XDG_STATE_HOME"] = _STATE.name  # runs of the tests are not in the history of whoever runs them
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job of a shell


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") == "true" and skipped and exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"CI must run every test, and {len(skipped)} were skipped", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


class Work:
    """The function calls, of Python and of C, within ``counted``: unlike time, the same on every machine."""

    calls = 0

    @contextmanager
    def counted(self):
        def count(frame, event, argument):
            del frame, argument
            self.calls += event in ("call", "c_call")

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            yield self
        finally:
            sys.setprofile(before)


@pytest.fixture
def work():
    """Count what a step does, to hold how its cost grows: ``with work.counted(): ...``, then ``work.calls``."""
    return Work()
