"""What `hostaudit paths` predicts beside what is measured, and sensors that miss something or may not listen."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit import hosts, tracenet
from labkit.outage import HYPERVISORS
from labkit.tracenet import SHORT, N, Net

PLAIN = """\
useradd --create-home --shell /bin/sh plain
echo 'plain:correct horse' | chpasswd  # sshd turns locked accounts away
install -d -m 700 -o plain /home/plain/.ssh
install -m 600 -o plain /root/.ssh/authorized_keys /home/plain/.ssh/
"""


@pytest.fixture
def net() -> Iterator[Net]:
    with tracenet.running() as running:
        yield running


@pytest.fixture
def dropping(net: Net) -> Net:
    for name in HYPERVISORS:
        net.drop(name)
    return net


# ---- paths, beside what is measured

TOPOLOGIES = {
    "nothing drops": ("bridge", (), 0.0),
    "both drop": ("bridge", ("h1", "h2"), 0.5),
    "the owner's host drops": ("bridge", ("h1",), 0.5),
    "the backend's host drops": ("bridge", ("h2",), 0.5),
    "hosts that route, both drop": ("route", ("h1", "h2"), 0.5),
}


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_the_share_that_is_predicted_is_the_share_that_is_measured(name: str, tmp_path: Path) -> None:
    mode, droppers, expected = TOPOLOGIES[name]
    with tracenet.running(mode) as net:
        for host in droppers:
            net.drop(host)
        net.handshakes(2)  # so that the bridges know whom they lead to
        predicted = net.paths(tmp_path)
        probed = net.probe()
        found = net.trace(tmp_path, *SHORT)
    lost = sum(c["outcome"] != "ok" for c in found.document["connections"]) / (2 * N)
    (row,) = predicted["vips"].values()
    assert (row["lost_today"], probed, lost) == (expected, expected, expected), predicted
    assert row["asymmetric"] == 0.5
    assert row["lost_planned"] in ({0.0} if not droppers else {0.0, expected})


# ---- sensors


def test_two_hundred_at_once(dropping: Net, tmp_path: Path) -> None:
    found = dropping.trace(tmp_path, "--count", "200", "--interval", "0", "--wait", "3")
    assert found.verdicts(0) + found.verdicts(1) == found.verdicts()
    assert found.verdicts(1) == Counter({"dropped-in-host": 100})
    assert sum(found.verdicts(0).values()) == 100
    assert set(found.verdicts(0)) <= {"ok-symmetric", "retransmit"}  # a queue may overflow for real in a burst


def test_what_a_deaf_sensor_missed_proves_nothing(dropping: Net, tmp_path: Path) -> None:
    found = dropping.trace(tmp_path, "--count", "200", "--interval", "0", "--wait", "2", "--queue", "1")
    assert any(h["drops"] for h in found.document["hosts"]), found.document["hosts"]
    assert found.verdicts(1) == Counter({"inconclusive": 100})
    assert set(found.verdicts(0)) <= {"inconclusive", "ok-symmetric"}


def test_a_host_without_the_right_to_listen_is_said(net: Net, tmp_path: Path) -> None:
    hosts.script("h2", PLAIN)
    found = net.trace(tmp_path, *SHORT, variables={"h2": {"ansible_user": "plain"}})
    assert found.code == 4, "all worked, one host was deaf"
    (deaf,) = [h for h in found.document["hosts"] if h["name"] == "h2"]
    assert "CAP_NET_RAW" in deaf["reason"]
    hosts.script("h2", "echo 'plain ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/lab")
    again = net.trace(tmp_path, *SHORT, variables={"h2": {"ansible_user": "plain", "ansible_become": "true"}})
    assert {h["status"] for h in again.document["hosts"]} == {"ok"}
    assert again.verdicts(1) == Counter({"ok-asymmetric": N})
    assert found.verdicts(0) == Counter({"ok-symmetric": N})
