"""`hostaudit drift --format html`: the page that a person opens from a mail."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.controller.history.conftest import START

from hostaudit.archive import save
from hostaudit.commands.storing import stored
from hostaudit.history import History

KEY = "net.core.somaxconn"
HOSTAUDIT = Path(sys.executable).parent / "hostaudit"


class Page(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):  # noqa: ARG002 - the base class's
        self.tags.append(tag)

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def drift(fleet, tmp_path):
    """Return what tells the drift of the next day against the runs that are stored."""
    url = f"sqlite:///{tmp_path}/j.db"
    with History.open(url) as history:
        for _ in range(2):
            now = stored(history, fleet.day(), "drift")
        names = list(fleet.hosts)
        history.tell(now.number, names, names, [])

    def told(*options):
        save(tmp_path / "answers.json", fleet.day().answers, START)
        words = ["drift", "--from", str(tmp_path / "answers.json"), "--journal", url, *options]
        return subprocess.run([HOSTAUDIT, *words], capture_output=True, text=True, check=False, cwd=tmp_path)

    return told


def test_the_page_has_each_comparison_with_owner_and_way_back(drift, fleet):
    fleet.knob("web03", KEY).running = "129"
    done = drift("--format", "html")
    assert (done.returncode, done.stderr) == (16, "")
    assert done.stdout.startswith("<!DOCTYPE html>")
    page = Page(done.stdout)
    assert {"script", "iframe", "img", "link"}.isdisjoint(page.tags)
    assert "drift" in page.text.lower()
    was = fleet.knob("web04", KEY).running
    for word in ("web03", KEY, "129", was, "last run", "cohort", f"hostaudit baseline accept -l web03 --only {KEY}"):
        assert word in page.text, word


def test_what_a_host_says_is_text_in_it(drift, fleet):
    fleet.knob("web03", KEY).running = "<script>alert(1)</script>"
    done = drift("--format", "html")
    assert "script" not in Page(done.stdout).tags
    assert "<script>alert(1)</script>" in Page(done.stdout).text


def test_nothing_is_no_page(drift):
    done = drift("--format", "html")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
