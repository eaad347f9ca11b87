"""The page as text: what it must have, and that hostile text stays text. How it renders: test_browser.py."""

import base64
import hashlib
import io
import re
import unicodedata
from html.parser import HTMLParser

import pytest
import samples

from hostaudit import report
from hostaudit.model import HostReport
from hostaudit.report.page.context import NOTHING, Context, Point, Series

VOID = {"meta", "link", "br", "img", "hr", "input", "circle", "path"}


def page(run, context=NOTHING, **style):
    out = io.StringIO()
    report.render("html", run, out, report.Style(**style), context)
    return out.getvalue()


class Outline(HTMLParser):
    """What a browser would meet: elements, attributes, ids, the text; and whether every element is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.attributes, self.ids, self.links, self.open, self.wrong = [], [], [], [], [], []
        self.text = ""
        self.feed(text)
        self.close()
        self.wrong += self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, k, v) for k, v in attrs]
        self.ids += [v for k, v in attrs if k == "id"]
        self.links += [v for k, v in attrs if k in ("href", "src", "srcset", "action", "data", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.wrong.append(tag)

    def handle_data(self, data):
        if "style" not in self.open[-1:]:
            self.text += data


@pytest.mark.parametrize(
    ("run", "context"),
    [
        (samples.forty(), samples.everything()),
        (samples.hostile(), samples.hostile_context()),
        (samples.run_of([], []), NOTHING),
        (samples.run_of([], [HostReport("a", "ok")]), NOTHING),
    ],
    ids=["forty", "hostile", "empty", "clean"],
)
def test_the_page_is_whole_runs_nothing_and_refers_to_itself_alone(run, context):
    text = page(run, context, show=frozenset(samples.Status))
    outline = Outline(text)
    assert outline.wrong == []
    assert not {"script", "img", "iframe", "object", "embed", "link", "form", "base"} & set(outline.elements)
    assert [a for a in outline.attributes if a[1].startswith("on") or a[1] in {"style", "srcdoc"}] == []
    assert [link for link in outline.links if not link.startswith("#")] == []
    assert {link[1:] for link in outline.links} <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    bad = {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs"} and c != "\n"}
    assert not bad


def test_its_policy_allows_its_style_sheet_and_nothing_else():
    text = page(samples.hostile())
    (sheet,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert f'http-equiv="Content-Security-Policy" content="{policy}"' in text
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert "url(" not in sheet
    assert "@import" not in sheet


def test_hostile_text_is_shown_as_it_is():
    shown = Outline(page(samples.hostile(), samples.hostile_context())).text
    assert "</script><script>document.title='owned'</script>" in shown
    assert "{{ 7*7 }}{% raw %}" in shown
    assert "evil\N{REPLACEMENT CHARACTER}gnp.exe" in shown
    assert "x" * 5000 not in shown
    assert "more characters)" in shown


def test_every_finding_is_there_with_evidence_command_and_what_would_disprove_it():
    shown = " ".join(Outline(page(samples.forty())).text.split())
    for words in (
        "2 causes are losing packets now",
        "PVEFW-FORWARD dropped 72 INVALID packets in 4 s",
        samples.SEEN,
        "The rule's counter stands still",
        "10.0.0.10:40015>10.0.0.100:8080",
        "Belongs to it. These fill the table",
        "no answer within 10 s from 10.0.3.5",
        "firewall was not read: needs CAP_NET_ADMIN",
        "until 2026-04-30: the old firewall is replaced in April",
        "VM 101 web01",
        "15 other hosts have nothing to report",
    ):
        assert words in shown, words


def test_a_cell_says_in_words_what_its_colour_says_and_leads_to_its_cause():
    text = page(samples.forty())
    row = re.search(r'<tr><th scope="row"><bdi>hyp2</bdi>.*?</tr>', text, re.DOTALL)[0]
    anchor, said = re.search(r'href="#(cause-\d+)".*?class="hidden">(.*?)<', row).groups()
    assert said == "active, high"
    assert re.search(rf'<article id="{anchor}".*?PVEFW-FORWARD dropped 72', text, re.DOTALL)
    assert 'scope="col"><span>conntrack-invalid-drop</span>' in text


def test_hosts_that_are_alike_share_a_row():
    text = page(samples.forty())
    assert "<bdi>web03</bdi> and 16 more</summary>" in text


def test_what_is_not_known_beside_the_run_is_not_mentioned():
    text = page(samples.forty())
    for anchor in ("time", "changes", "drift", "probes", "traces"):
        assert f'id="{anchor}"' not in text
    both = page(samples.forty(), samples.everything())
    for anchor in ("time", "changes", "drift", "probes", "traces"):
        assert f'id="{anchor}"' in both


def test_the_change_stands_where_the_counter_goes_flat():
    text = page(samples.forty(), samples.everything())
    chart = re.search(r'<svg class="chart".*?</svg>', text, re.DOTALL)[0]
    x = float(re.search(r'<path class="event" d="M([\d.]+) ', chart)[1])
    line = re.search(r'class="line" d="(.*?)"', chart)[1]
    dots = [tuple(map(float, d.split())) for d in re.split("[ML]", line) if d]
    assert {y for at, y in dots if at > x} == {160.0}
    assert max(y for at, y in dots if at < x - 1) < 160.0
    assert line.count("M") == 2  # the value that was not read is a gap
    assert chart.count('class="number"') == 1  # changes of other hosts are not in this picture


@pytest.mark.parametrize("time", ["", "yesterday", "2026-13-45T00:00:00Z"])
def test_a_time_that_is_none_is_left_out_of_a_picture(time):
    series = Series("hyp2", "x", "%", (Point(time, 1.0), Point("2026-03-05T01:00:00Z", 2.0)))
    assert "Over time" in page(samples.forty(), Context(series=(series,), events=samples.everything().events))


def test_a_large_fleet_stays_a_file_that_a_mail_can_carry():
    names = [f"node{n:04}" for n in range(1000)]
    found = [samples.finding("rp-filter-strict", n, cause="rp", summary=f"strict on {n}") for n in names]
    text = page(samples.run_of(found, [HostReport(n, "ok") for n in names]))
    assert len(text) < 1_000_000
    assert "node0999" in text
