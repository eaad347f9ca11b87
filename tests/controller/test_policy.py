import pytest

from hostaudit.errors import PolicyError
from hostaudit.policy import parse

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
