import pytest

from hostaudit.checks import all_checks
from hostaudit.errors import PolicyError
from hostaudit.policy import Policy, parse
from hostaudit.profiles import PROFILES

KNOWN = {"conntrack-table-full": {"risk": 0.75, "critical": 0.9}, "sysctl-drift": {}}


def test_thresholds_replace_the_defaults_of_their_check_only():
    policy = parse({"checks": {"conntrack-table-full": {"risk": 0.6}}}, KNOWN)
    assert policy.threshold("conntrack-table-full", "risk", 0.75) == 0.6
    assert policy.threshold("conntrack-table-full", "critical", 0.9) == 0.9


def test_a_check_is_switched_off_with_a_reason():
    policy = parse({"checks": {"sysctl-drift": {"off": "tuned owns these hosts"}}}, KNOWN)
    assert policy.off == {"sysctl-drift": "tuned owns these hosts"}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"check": {}}, "unknown section [check]"),
        ({"checks": 3}, "checks is a table of tables"),
        ({"checks": {"conntrack-full": {}}}, "[checks.conntrack-full]: no such check"),
        ({"checks": {"sysctl-drift": 1}}, "[checks.sysctl-drift]: expected a table"),
        ({"checks": {"conntrack-table-full": {"warn": 1}}}, "no threshold 'warn'; it has: critical, risk"),
        ({"checks": {"sysctl-drift": {"warn": 1}}}, "it has: none"),
        ({"checks": {"conntrack-table-full": {"risk": "75%"}}}, "risk is a number >= 0, not '75%'"),
        ({"checks": {"conntrack-table-full": {"risk": True}}}, "risk is a number >= 0, not True"),
        ({"checks": {"conntrack-table-full": {"risk": -1}}}, "risk is a number >= 0, not -1"),
        ({"checks": {"sysctl-drift": {"off": True}}}, "off takes the reason as text"),
    ],
)
def test_a_mistake_is_named_with_file_and_place(document, says):
    with pytest.raises(PolicyError) as caught:
        parse(document, KNOWN, "site.toml")
    assert str(caught.value).startswith("site.toml: ")
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


TEXT = """\
profile = "strict"   # early warnings

[checks.sysctl-drift]
off = "tuned owns these hosts"

[ "checks" . "conntrack-table-full" ]
# a comment with risk = 1
critical = 0.9
risk = "75%"
"""


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"profile": "stict"}, "site.toml:1: profile 'stict' is not known; there are default, strict, homelab"),
        ({"profile": []}, "site.toml:1: profile [] is not known"),
        ({"checks": {"conntrack-table-full": {"risk": "75%"}}}, "site.toml:9: [checks.conntrack-table-full]: risk is"),
        ({"checks": {"conntrack-table-full": {"warn": 1}}}, "site.toml:6: [checks.conntrack-table-full]: no threshold"),
        ({"checks": {"sysctl-drift": {"off": True}}}, "site.toml:4: [checks.sysctl-drift]: off takes the reason"),
    ],
)
def test_a_mistake_is_named_with_its_line_where_the_text_is_known(document, place):
    with pytest.raises(PolicyError) as caught:
        parse(document, KNOWN, "site.toml", TEXT)
    assert str(caught.value).startswith(place)


def test_a_profile_moves_the_defaults_and_the_file_stands_above_it():
    known = {c.id: c.thresholds for c in all_checks().values()}
    strict = parse({"profile": "strict", "checks": {"conntrack-table-full": {"risk_share": 0.7}}}, known)
    assert strict.profile == "strict"
    assert strict.threshold("conntrack-table-full", "risk_share", 0.75) == 0.7
    assert strict.threshold("conntrack-table-full", "critical_share", 0.9) == 0.75
    assert strict.threshold("conntrack-insert-failed", "active_packets", 1) == 1


def test_a_profile_switches_off_with_a_reason_and_the_file_switches_on_again():
    known = {"fleet-outlier": {}}
    assert "all different on purpose" in parse({"profile": "homelab"}, known).off["fleet-outlier"]
    assert parse({"profile": "homelab", "checks": {"fleet-outlier": {"off": False}}}, known).off == {}


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_move_thresholds_that_exist_in_their_direction(name):
    known = {c.id: c.thresholds for c in all_checks().values()}
    profile = PROFILES[name]
    assert profile.what
    assert set(profile.off) <= set(known) | {"fleet-outlier"}
    for check, values in profile.thresholds.items():
        for threshold, value in values.items():
            default = known[check][threshold]
            assert value < default if name == "strict" else value > default, (check, threshold)


def test_the_defaults_are_no_profile_of_their_own():
    assert PROFILES["default"].thresholds == {}
    assert Policy() == parse({}, KNOWN)
