"""Change windows against a table of cases."""

from datetime import UTC, date, datetime, timedelta
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
# In Berlin the clock goes from 02:00 to 03:00 on 2026-03-29, and from 03:00 back to 02:00 on 2026-10-25.
CASES = {
    # name: windows, now, open until (or None), next open
    "over midnight, after it": ([NIGHT], "2026-11-21 00:30", "2026-11-21 02:00", None),
    "over midnight, before it": ([NIGHT], "2026-11-20 23:59", "2026-11-21 02:00", None),
    "the start is inside": ([NIGHT], "2026-11-20 22:00", "2026-11-21 02:00", None),
    "the end is outside": ([NIGHT], "2026-11-21 02:00", None, "2026-11-21 22:00"),
    "weekday counts where it begins": (
        [allow("0 22 * * fri", "4h")],
        "2026-11-21 01:00",  # a Saturday
        "2026-11-21 02:00",
        None,
    ),
    "weekday ends with its night": ([allow("0 22 * * fri", "4h")], "2026-11-21 22:30", None, "2026-11-27 22:00"),
    "sunday is 0 and 7": ([allow("0 8 * * 7", "1h")], "2026-11-22 08:30", "2026-11-22 09:00", None),
    "day or weekday, as cron has it": ([allow("0 8 13 * fri", "1h")], "2026-11-13 09:30", None, "2026-11-20 08:00"),
    "last sunday of a month": ([allow("0 8 * * 0L", "1h")], "2026-11-23 00:00", None, "2026-11-29 08:00"),
    "a start in the gap is at its end": (
        [allow("30 2 * * *", "1h")],
        "2026-03-29 03:00",
        "2026-03-29 04:00",
        None,
    ),
    "before the gap": ([allow("30 2 * * *", "1h")], "2026-03-29 01:59", None, "2026-03-29 03:00"),
    "hourly starts do not move into the gap": (
        [allow("30 * * * *", "10m")],
        "2026-03-29 03:05",
        None,
        "2026-03-29 03:30",
    ),
    "four hours are four hours in the short night": (
        [allow("0 0 * * *", "4h")],
        "2026-03-29 04:30",
        "2026-03-29 05:00",
        None,
    ),
    "four hours are four hours in the long night": (
        [allow("0 0 * * *", "4h")],
        "2026-10-25 02:59*",
        "2026-10-25 03:00",
        None,
    ),
    "a repeated start allows once, first pass": (
        [allow("30 2 * * *", "20m")],
        "2026-10-25 02:40",
        "2026-10-25 02:50",
        None,
    ),
    "a repeated start allows once, not in the second pass": (
        [allow("30 2 * * *", "20m")],
        "2026-10-25 02:40*",
        None,
        "2026-10-26 02:30",
    ),
    "a repeated start denies twice": ([deny("30 2 * * *", "20m")], "2026-10-25 02:40*", None, "2026-10-25 02:50*"),
    "hourly starts come twice": ([allow("30 * * * *", "10m")], "2026-10-25 02:35*", "2026-10-25 02:40*", None),
    "asked in the first pass, the second is next": (
        [allow("0,30 */1 * * *", "10m")],
        "2026-10-25 02:45",
        None,
        "2026-10-25 02:00*",
    ),
    "midnight that does not exist": (  # Cairo, 2026-04-24: from 00:00 to 01:00
        [allow("0 0 * * *", "1h", "Africa/Cairo")],
        ("2026-04-24 01:30", "Africa/Cairo"),
        ("2026-04-24 02:00", "Africa/Cairo"),
        None,
    ),
    "half an hour of summer time": (  # Lord Howe, 2026-04-05: from 02:00 back to 01:30
        [allow("*/15 2 * * *", "5m", "Australia/Lord_Howe")],
        ("2026-04-05 01:45*", "Australia/Lord_Howe"),
        None,
        ("2026-04-05 02:00*", "Australia/Lord_Howe"),
    ),
    "leap day": ([allow("0 1 29 2 *", "2h")], "2028-02-29 02:00", "2028-02-29 03:00", None),
    "leap day to come": ([allow("0 1 29 2 *", "2h")], "2026-11-21 00:00", None, "2028-02-29 01:00"),
    "no leap day in 2100": ([allow("0 1 29 2 *", "2h")], "2096-03-01 00:00", None, "2104-02-29 01:00"),
    "over the end of february": ([allow("0 23 28 2 *", "2h")], "2028-02-29 00:30", "2028-02-29 01:00", None),
    "overlapping windows are one": (
        [NIGHT, allow("0 1 * * *", "3h")],
        "2026-11-20 23:00",
        "2026-11-21 04:00",
        None,
    ),
    "adjacent windows are one": ([NIGHT, allow("0 2 * * *", "1h")], "2026-11-20 23:00", "2026-11-21 03:00", None),
    "a window inside another": ([NIGHT, allow("0 23 * * *", "1h")], "2026-11-20 23:10", "2026-11-21 02:00", None),
    "one window that overlaps itself": ([allow("0 22,23 * * *", "2h")], "2026-11-20 22:10", "2026-11-21 01:00", None),
    "two zones overlap": (
        [NIGHT, allow("0 0 * * *", "2h", "UTC")],
        "2026-11-21 00:30",
        "2026-11-21 03:00",
        None,
    ),
    "a deny that is to begin": ([NIGHT, deny("0 1 * * *", "30m")], "2026-11-21 00:30", "2026-11-21 01:00", None),
    "deny inside allow": ([NIGHT, deny("0 1 * * *", "30m")], "2026-11-21 01:15", None, "2026-11-21 01:30"),
    "deny at the edge": (
        [NIGHT, deny("30 1 * * *", "1h")],
        "2026-11-21 01:45",
        None,
        "2026-11-21 22:00",
    ),
    "denies that follow each other": (
        [NIGHT, deny("0 23 * * *", "1h"), deny("0 0 * * *", "1h")],
        "2026-11-20 23:30",
        None,
        "2026-11-21 01:00",
    ),
    "deny alone leaves the rest": ([deny("0 8 * * mon-fri", "10h")], "2026-11-20 18:00", "2026-11-23 08:00", None),
    "freeze of whole days": ([NIGHT, freeze("2026-12-18", "2027-01-06")], "2026-12-20 23:00", None, "2027-01-07 00:00"),
    "freeze includes its first day": (
        [NIGHT, freeze("2026-12-18", "2027-01-06")],
        "2026-12-17 22:30",
        "2026-12-18 00:00",
        None,
    ),
    "freeze with hours": (
        [freeze("2026-12-18T20:00", "2026-12-18T22:00")],
        "2026-12-18 21:59",
        None,
        "2026-12-18 22:00",
    ),
    "freeze with an offset": (
        [freeze("2026-12-18T20:00:00Z", "2026-12-18T22:00:00Z")],
        "2026-12-18 22:59",
        None,
        "2026-12-18 23:00",
    ),
    "freeze decoded by TOML": (
        [freeze(date(2026, 12, 18), datetime(2026, 12, 19, 6))],  # noqa: DTZ001 - a local date-time of TOML
        "2026-12-19 05:59",
        None,
        "2026-12-19 06:00",
    ),
    "freeze from a repeated hour on is the longer one": (
        [freeze("2026-10-25T02:30", "2026-10-25T05:00")],
        "2026-10-25 02:31",
        None,
        "2026-10-25 05:00",
    ),
    "freeze until a repeated hour is the longer one": (
        [freeze("2026-10-25T00:00", "2026-10-25T02:30")],
        "2026-10-25 02:15*",
        None,
        "2026-10-25 02:30*",
    ),
    "adjacent days, until one that has 25 hours": (
        [allow("0 0 * * *", "24h")],
        "2026-11-21 12:00",
        "2027-10-31 23:00",
        None,
    ),
    "nothing declared": ([], "2026-11-21 12:00", None, None),
}


@pytest.mark.parametrize("name", CASES)
def test_the_table(name):
    entries, *times = CASES[name]
    now, until, opens = (t and (at(t) if isinstance(t, str) else at(*t)) for t in times)
    decision = decide(now, parse(entries))
    assert (decision.until, decision.next_open) == (until, opens), decision.reason
    assert decision.open == (opens is None)


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
