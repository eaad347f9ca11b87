"""Change windows against a simulation that looks at every minute of a clock, written without cronsim."""

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostaudit.errors import PolicyError
from hostaudit.windows import decide, fits, parse, upcoming

MINUTE = timedelta(minutes=1)
AHEAD = 20 * 60
LONGEST = 10 * 60
# zone -> instants near which its clock jumps; the kinds of jump that exist: an hour at night and at midnight,
# half an hour, two hours, none
ZONES = {
    "Europe/Berlin": ["2026-03-29T01:00", "2026-10-25T01:00"],
    "America/New_York": ["2026-03-08T07:00", "2026-11-01T06:00"],
    "Australia/Lord_Howe": ["2026-04-04T15:00", "2026-10-03T15:30"],
    "Africa/Cairo": ["2026-04-23T22:00", "2026-10-29T21:00"],
    "America/Santiago": ["2026-04-05T03:00", "2026-09-06T04:00"],
    "Antarctica/Troll": ["2026-03-29T01:00", "2026-10-25T01:00"],
    "Asia/Kolkata": ["2026-12-31T18:30"],
    "UTC": ["2028-02-29T00:00"],
}


def cron_field(low, high):
    number = st.integers(low, high)
    return st.one_of(
        number.map(str),
        st.lists(number, min_size=2, max_size=4, unique=True).map(lambda ns: ",".join(map(str, ns))),
        st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}"),
        st.sampled_from([f"*/{n}" for n in (2, 7, 15)]),
    )


STAR = st.just("*")
HOURS = st.one_of(STAR, cron_field(0, 4), cron_field(0, 23))
CRON = st.tuples(
    cron_field(0, 59), HOURS, st.one_of(STAR, STAR, cron_field(1, 31)), STAR, st.one_of(STAR, STAR, cron_field(0, 6))
)
LENGTH = st.one_of(st.integers(1, 90), st.integers(1, LONGEST))


@st.composite
def entry(draw, zone):
    verb = draw(st.sampled_from(["allow", "allow", "deny"]))
    return {verb: " ".join(draw(CRON)), "duration": f"{draw(LENGTH)}m", "timezone": zone}


@st.composite
def case(draw):
    zone = draw(st.sampled_from(list(ZONES)))
    near = datetime.fromisoformat(draw(st.sampled_from(ZONES[zone]))).replace(tzinfo=UTC)
    now = near + timedelta(minutes=draw(st.integers(-6 * 60, 6 * 60)))
    lists = draw(st.lists(st.lists(entry(zone), max_size=3), min_size=1, max_size=2))
    return now, lists


def values(text, low, high):
    if text.startswith("*"):
        return set(range(low, high + 1, int(text.partition("/")[2] or 1)))
    if "-" in text:
        first, last = text.split("-")
        return set(range(int(first), int(last) + 1))
    return {int(part) for part in text.split(",")}


def matcher(cron):
    """Return a function that says whether a wall clock time matches."""
    minute, hour, day, _month, weekday = cron.split()
    minutes, hours = values(minute, 0, 59), values(hour, 0, 23)
    days, weekdays = values(day, 1, 31), values(weekday, 0, 6)
    both = day.startswith("*") or weekday.startswith("*")

    def match(wall):
        if wall.minute not in minutes or wall.hour not in hours:
            return False
        of_month, of_week = wall.day in days, wall.isoweekday() % 7 in weekdays
        return (of_month and of_week) if both else (of_month or of_week)

    return match


@cache
def clock(zone, instant):
    local = instant.astimezone(ZoneInfo(zone))
    return local.replace(tzinfo=None, fold=0), local.fold


def in_force(rule, begin, end):
    """Return, for every minute from begin to end, whether the rule is in force."""
    verb = "allow" if "allow" in rule else "deny"
    cron, zone, length = rule[verb], rule["timezone"], int(rule["duration"][:-1])
    match = matcher(cron)
    fixed = not any(part.startswith("*") for part in cron.split()[:2])
    left, result = 0, []
    instant = begin - length * MINUTE
    before, _fold = clock(zone, instant - MINUTE)
    while instant < end:
        wall, fold = clock(zone, instant)
        starts = match(wall) and (fold == 0 or not fixed or verb == "deny")
        skipped = before + MINUTE
        while fixed and skipped < wall:
            starts = starts or match(skipped)
            skipped += MINUTE
        left = length if starts else left - 1
        if instant >= begin:
            result.append(left > 0)
        before, instant = wall, instant + MINUTE
    return result


def simulate(lists, begin, end):
    """Return, for every minute from begin to end, whether changes are allowed."""
    free = [True] * int((end - begin) / MINUTE)
    for rules in lists:
        allow = [in_force(r, begin, end) for r in rules if "allow" in r]
        deny = [in_force(r, begin, end) for r in rules if "deny" in r]
        for i in range(len(free)):
            free[i] = free[i] and (not allow or any(a[i] for a in allow)) and not any(d[i] for d in deny)
    return free


@settings(max_examples=100, deadline=None)
@given(case(), st.integers(0, 59))
def test_decide_is_what_a_look_at_every_minute_says(drawn, seconds):
    now, lists = drawn
    free = simulate(lists, now, now + AHEAD * MINUTE)
    decision = decide(now + timedelta(seconds=seconds), *(parse(rules) for rules in lists))
    assert decision.open == free[0]
    changes = next((now + i * MINUTE for i, state in enumerate(free) if state != free[0]), None)
    answered = decision.until if decision.open else decision.next_open
    if changes is None:
        assert answered is None or answered >= now + AHEAD * MINUTE
    else:
        assert answered == changes
    assert (decision.next_open if decision.open else decision.until) is None


@settings(max_examples=30, deadline=None)
@given(case(), st.integers(1, 600))
def test_openings_are_in_order_apart_and_open(drawn, needed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hostaudit.windows.SEARCH", 300)  # what is given up is given up sooner
        openings_hold(drawn, needed)


def openings_hold(drawn, needed):
    now, lists = drawn
    windows = [parse(rules) for rules in lists]
    openings = upcoming(now, 4, *windows)
    last = None
    for opening in openings:
        assert opening.start >= now
        assert last is None or opening.start > last
        assert decide(opening.start, *windows).open
        last = opening.end
        if last is None:
            assert opening is openings[-1]
            break
        assert opening.start < last
        assert decide(last - timedelta(seconds=1), *windows).open
        middle = opening.start + (last - opening.start) / 2
        assert decide(middle, *windows).open
        if "at least" not in decide(opening.start, *windows).reason:
            assert decide(middle, *windows).until == last
            assert not decide(last, *windows).open
        length = last - opening.start
        assert fits(opening.start, length, *windows).open
        assert not fits(opening.start, length + timedelta(seconds=1), *windows).open
    later = fits(now, needed * MINUTE, *windows)
    if not later.open and later.next_open is not None:
        assert fits(later.next_open, needed * MINUTE, *windows).open


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
CRONISH = st.text("0123456789*/-,#LW monfri", max_size=20) | ANYTHING


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["allow", "deny", "freeze"]),
    CRONISH | st.fixed_dictionaries({"from": ANYTHING, "to": ANYTHING}),
    st.just("4h") | st.text("0123456789dhm", max_size=9) | ANYTHING,
    st.sampled_from(["UTC", "Europe/Berlin"]) | ANYTHING,
)
def test_whatever_is_written_is_windows_or_a_policy_error(verb, when, duration, timezone):
    try:
        windows = parse(
            [
                {verb: when, "duration": duration, "timezone": timezone}
                if verb != "freeze"
                else {verb: when, "timezone": timezone}
            ]
        )
    except PolicyError:
        return
    decide(datetime(2026, 11, 21, tzinfo=UTC), windows)


def test_the_simulation_itself_knows_the_jumps():
    spring = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)
    rule = {"allow": "30 2 * * *", "duration": "10m", "timezone": "Europe/Berlin"}
    states = in_force(rule, spring, spring + timedelta(hours=2))
    assert [i for i, state in enumerate(states) if state] == list(range(60, 70))


@pytest.mark.parametrize("verb", ["allow", "deny"])
def test_the_simulation_itself_knows_the_repeated_hour(verb):
    autumn = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
    rule = {verb: "30 2 * * *", "duration": "10m", "timezone": "Europe/Berlin"}
    states = in_force(rule, autumn, autumn + timedelta(hours=2))
    passes = {"allow": [*range(30, 40)], "deny": [*range(30, 40), *range(90, 100)]}[verb]
    assert [i for i, state in enumerate(states) if state] == passes
