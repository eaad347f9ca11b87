"""Change windows against a table of cases."""

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from hostaudit.errors import PolicyError
from hostaudit.windows import Windows, combine, decide, fits, parse, upcoming

BERLIN = "Europe/Berlin"


def allow(cron, duration, timezone=BERLIN, **more):
    return {"allow": cron, "duration": duration, "timezone": timezone, **more}


def deny(cron, duration, timezone=BERLIN, **more):
    return {"deny": cron, "duration": duration, "timezone": timezone, **more}


def freeze(start, end, timezone=BERLIN, **more):
    return {"freeze": {"from": start, "to": end}, "timezone": timezone, **more}


def at(text, timezone=BERLIN):
    """Return 'YYYY-MM-DD HH:MM' of a zone's clock; a trailing * is the second pass of a repeated hour."""
    local = datetime.fromisoformat(text.rstrip("*")).replace(tzinfo=ZoneInfo(timezone), fold=int(text.endswith("*")))
    return local.astimezone(UTC)


NIGHT = allow("0 22 * * *", "4h")
# name -> windows, now, open_until (empty: without end) or next_open
CASES = tomllib.loads(Path(__file__).with_name("windows.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_the_table(name):
    case = CASES[name]
    now, until, opens = (
        at(text, case.get("zone", BERLIN)) if (text := case.get(key)) else None
        for key in ("now", "open_until", "next_open")
    )
    decision = decide(now, parse(case["windows"]))
    assert (decision.until, decision.next_open) == (until, opens), decision.reason
    assert decision.open == ("open_until" in case)


def test_a_sentence_says_what_decides_and_in_its_own_zone():
    windows = parse([NIGHT | {"name": "nights"}, deny("0 1 * * *", "30m", "UTC", reason="backup")])
    assert decide(at("2026-11-20 23:00"), windows).reason == (
        'open until Sat 2026-11-21 01:00 UTC, when deny window "0 1 * * *" begins'
    )
    assert decide(at("2026-11-21 02:15"), windows).reason == (
        'closed by deny window "0 1 * * *" until Sat 2026-11-21 01:30 UTC: backup; opens Sat 2026-11-21 22:00 CET'
    )
    assert decide(at("2026-11-21 12:00"), windows).reason == (
        "closed: outside the allow windows; opens Sat 2026-11-21 22:00 CET"
    )
    assert decide(at("2026-11-21 12:00")).reason == "open: no change windows are declared"
    ends = parse([NIGHT | {"name": "nights"}], source="host pve3")
    assert decide(at("2026-11-21 01:00"), ends).reason == (
        'open until Sat 2026-11-21 02:00 CET, when allow window "nights" of host pve3 ends'
    )


def test_work_fits_only_if_it_ends_before_the_window():
    night = parse([NIGHT])
    assert fits(at("2026-11-21 01:20"), timedelta(minutes=40), night).open
    late = fits(at("2026-11-21 01:20"), timedelta(minutes=40, seconds=1), night)
    assert not late.open
    assert late.next_open == at("2026-11-21 22:00")
    assert late.reason.startswith("needs 41m with its undo, and 40m are left: open until Sat 2026-11-21 02:00 CET")


def test_a_deny_that_begins_inside_the_window_cuts_it():
    windows = parse([NIGHT, deny("0 23 * * *", "10m")])
    assert not fits(at("2026-11-20 22:20"), timedelta(hours=1), windows).open
    assert fits(at("2026-11-20 22:20"), timedelta(hours=1), windows).next_open == at("2026-11-20 23:10")
    assert fits(at("2026-11-20 22:20"), timedelta(minutes=40), windows).open


def test_openings_that_are_too_short_are_passed_over():
    windows = parse([allow("0 22 * * mon-fri", "1h"), allow("0 22 * * sat", "6h")])
    decision = fits(at("2026-11-23 12:00"), timedelta(hours=3), windows)
    assert decision.next_open == at("2026-11-28 22:00")
    assert decision.reason.endswith("opens Mon 2026-11-23 22:00 CET; long enough from Sat 2026-11-28 22:00 CET")
    never = fits(at("2026-11-23 12:00"), timedelta(hours=7), windows)
    assert never.next_open is None
    assert never.reason.endswith("no opening for 7h was found, the longest ahead is 6h")


def test_without_windows_everything_fits():
    assert fits(at("2026-11-23 12:00"), timedelta(days=9), parse([]), Windows()).open


def test_a_batch_is_free_when_every_host_is():
    one = parse([NIGHT], source="host pve1")
    two = parse([allow("0 0 * * *", "4h")], source="host pve2")
    free = parse([])
    decision = decide(at("2026-11-21 00:30"), one, two, free)
    assert (decision.open, decision.until) == (True, at("2026-11-21 02:00"))
    decision = decide(at("2026-11-20 23:00"), one, two, free)
    assert (decision.open, decision.next_open) == (False, at("2026-11-21 00:00"))
    assert "outside the allow windows of host pve2" in decision.reason
    apart = parse([allow("0 12 * * *", "1h")], source="host pve3")
    decision = decide(at("2026-11-20 23:00"), one, apart)
    assert (decision.open, decision.next_open) == (False, None)
    assert "no opening was found up to" in decision.reason


def test_a_hosts_own_allow_windows_replace_the_policys_and_denials_stay():
    policy = parse([NIGHT, freeze("2026-12-18", "2027-01-06")], source="the policy")
    noon = parse([allow("0 12 * * *", "1h")], source="host pve3")
    both = combine(policy, noon)
    assert decide(at("2026-11-20 12:30"), both).open
    assert not decide(at("2026-11-20 23:00"), both).open
    assert not decide(at("2026-12-20 12:30"), both).open
    assert decide(at("2026-11-20 23:00"), combine(policy, parse([]))).open


def test_upcoming_begins_now_when_open_and_ends_where_there_is_no_end():
    nights = upcoming(at("2026-11-21 00:30"), 3, parse([NIGHT]))
    assert [(o.start, o.end) for o in nights] == [
        (at("2026-11-21 00:30"), at("2026-11-21 02:00")),
        (at("2026-11-21 22:00"), at("2026-11-22 02:00")),
        (at("2026-11-22 22:00"), at("2026-11-23 02:00")),
    ]
    free = upcoming(at("2026-12-20 00:30"), 3, parse([freeze("2026-12-18", "2027-01-06")]))
    assert [(o.start, o.end) for o in free] == [(at("2027-01-07 00:00"), None)]


@pytest.mark.parametrize("closing", ["*/5 * * * *", "0,5,10,15,20,25,30,35,40,45,50,55 0-23 * * *"])
def test_windows_that_never_open_are_given_up(closing):
    windows = parse([NIGHT, deny(closing, "5m", "UTC")])
    decision = decide(at("2026-11-21 00:30"), windows)
    assert (decision.open, decision.next_open) == (False, None)
    assert upcoming(at("2026-11-21 00:30"), 10, windows) == []
    assert fits(at("2026-11-21 00:30"), timedelta(minutes=1), windows).next_open is None


def test_hosts_are_searched_together_and_none_uses_up_the_search_of_another():
    always = parse([allow("0 * * * *", "1h")])
    tiny = parse([allow("0-1 2 * * *", "1m")])
    assert decide(at("2026-11-21 02:00"), always, tiny).until == at("2026-11-21 02:02")
    assert decide(at("2026-11-21 02:00"), tiny, always).until == at("2026-11-21 02:02")


def test_an_end_beyond_the_search_is_told_as_such():
    decision = decide(at("2026-11-21 00:30"), parse([allow("*/2 * * * *", "2m")]))
    assert decision.open
    assert decision.until > at("2026-11-24 00:30")
    assert decision.reason.startswith("open at least until ")


def test_a_time_without_zone_is_refused():
    with pytest.raises(ValueError, match="no time zone"):
        decide(datetime(2026, 11, 21), parse([]))  # noqa: DTZ001 - on purpose
    with pytest.raises(ValueError, match="negative"):
        fits(at("2026-11-21 00:30"), timedelta(seconds=-1), parse([]))


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"allow": "0 22 * * *"}, "site.toml: windows: expected a list"),
        ([3], "entry 1: expected a table"),
        ([NIGHT, {"duration": "1h"}], "entry 2: has none of allow, deny, freeze; write exactly one"),
        ([{"allow": "0 1 * * *", "deny": "0 1 * * *"}], "has allow and deny of"),
        ([NIGHT | {"time_zone": "UTC"}], "allow takes no 'time_zone'; it knows: allow, duration, name, reason"),
        ([freeze("2026-12-18", "2026-12-19", duration="1h")], "freeze takes no 'duration'"),
        ([{"allow": "0 22 * * *", "duration": "1h"}], "say in which timezone"),
        ([allow("0 22 * * *", "1h", "Europe/Berlim")], "no time zone 'Europe/Berlim' here"),
        ([allow("0 22 * * *", "1h", "Europe")], "no time zone 'Europe' here"),
        ([allow("0 22 * * *", "1h", "../etc/passwd")], "no time zone"),
        ([allow("0 22 * * *", "1h", "")], "no time zone"),
        ([allow("0 22 * * *", "1h", 1)], "timezone is text, not 1"),
        ([{"allow": "0 22 * * *", "timezone": "UTC"}], "say how long it lasts"),
        ([allow("0 22 * * *", "")], "duration is text like 4h30m, 90m or 2d, not ''"),
        ([allow("0 22 * * *", "4 hours")], "not '4 hours'"),
        ([allow("0 22 * * *", "30m4h")], "not '30m4h'"),
        ([allow("0 22 * * *", 4)], "not 4"),
        ([allow("0 22 * * *", "0m")], "duration 0m is not between 1m and 31d"),
        ([allow("0 22 * * *", "32d")], "duration 32d is not between 1m and 31d; for longer use freeze"),
        ([allow(22, "1h")], "entry 1: allow: the start is text, not 22"),
        ([allow("22:00", "1h")], "allow = '22:00': expected five fields"),
        ([allow("0 0 22 * * *", "1h")], "expected five fields"),
        ([allow("@daily", "1h")], "expected five fields"),
        ([allow("* 22 * * *", "4h")], "for the full hour write '0 22 * * *'"),
        ([allow("61 22 * * *", "4h")], "Bad minute"),
        ([allow("0 22 * * fri-mon", "4h")], "Bad day-of-week"),
        ([allow("0 22 31 2 *", "4h")], "Bad day-of-month"),
        ([deny("0 0 */30 2 1#5", "4h")], "deny = '0 0 */30 2 1#5': no day of the calendar matches"),
        ([NIGHT | {"name": 7}], "name is text, not 7"),
        ([{"freeze": "2026-12-18", "timezone": "UTC"}], "entry 1: freeze: expected {from"),
        ([freeze("2026-12-18", "2026-12-17")], "freeze: ends at 2026-12-17, before it begins at 2026-12-18"),
        ([freeze("2026-12-18T10:00", "2026-12-18T10:00")], "before it begins"),
        ([freeze("18.12.2026", "2026-12-19")], "freeze: from: '18.12.2026' is not a date like"),
        ([freeze("2026-12-18", "2026-02-30")], "freeze: to: '2026-02-30' is not a date"),
        ([freeze("2026-12-18", "9999-12-31")], "is not a date"),
        ([freeze(20261218, "2026-12-19")], "from is a date or a date-time, not 20261218"),
    ],
)
def test_a_mistake_is_named_with_file_and_entry(entries, says):
    with pytest.raises(PolicyError) as caught:
        parse(entries, "site.toml: windows")
    assert str(caught.value).startswith("site.toml: windows")
    assert says in str(caught.value)
    assert caught.value.exit_code == 2
