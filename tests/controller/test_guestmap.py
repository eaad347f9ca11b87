"""Which hypervisor carries which host of the inventory, from what hypervisors and hosts said."""

from __future__ import annotations

import importlib.util
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hostaudit import report
from hostaudit.audit import Request, judged, stamp
from hostaudit.guestmap import guest_map
from hostaudit.model import Host, Unreachable
from hostaudit.report._map import line

CASES = Path(__file__).resolve().parents[1] / "checks/test_cases.py"
WORKER1 = "bc:24:11:00:01:00"


@pytest.fixture(scope="session")
def answer():
    """Return what makes a host that answered from a file of tests/checks/hosts."""
    spec = importlib.util.spec_from_file_location("guestmap_cases", CASES)
    cases = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cases)

    def make(name, kind, variables=None, **snapshot):
        found = cases.collected(name, {"host": kind, "snapshot": snapshot})
        return replace(found, host=Host(name, ("group",), variables or {}))

    return make


def worker(answer, name="kube1", mac=WORKER1, address="192.0.2.21/24", **variables):
    nic = {"name": "eth0", "index": 2, "mtu": 1500, "up": True, "mac": mac.upper(), "addresses": [address]}
    return answer(name, "debian12", variables, link={"links": [nic]})


def by_vmid(answers):
    return {guest.vmid: guest for guest in guest_map(answers)}


def test_without_a_hypervisor_there_is_no_map(answer):
    assert guest_map([worker(answer), answer("h", "pve9")]) == ()


def test_a_mac_address_tells_the_host_and_the_port_its_interface(answer):
    found = by_vmid([answer("pve1", "pve9-guests"), worker(answer)])
    one = found[100]
    assert (one.hypervisor, one.kind, one.name, one.host, one.by) == ("pve1", "qemu", "worker1", "kube1", "MAC address")
    assert one.running is True
    (nic,) = one.nics
    assert (nic.name, nic.mac, nic.bridge, nic.port, nic.mtu, nic.firewall) == (
        "net0", WORKER1, "vmbr0", "tap100i0", 1500, False,
    )  # fmt: skip
    assert (found[101].nics[0].firewall, found[101].nics[0].filtered, found[101].host) == (True, True, "")
    assert (found[900].running, found[900].nics[0].port, found[900].nics[0].tag) == (False, "", 20)


def test_a_hypervisors_own_interfaces_are_no_guests(answer):
    other = answer("pve2", "pve9", link={"links": [{"name": "tap100i0", "index": 9, "mtu": 1500, "mac": WORKER1}]})
    assert by_vmid([answer("pve1", "pve9-guests"), other])[100].host == ""


def test_a_host_that_does_not_answer_is_told_by_address_or_name(answer):
    dark = [
        Unreachable(Host("resolver", (), {"ansible_host": "192.0.2.53"}), "connect", "no route"),
        Unreachable(Host("WORKER2.example"), "connect", "no route"),
    ]
    found = by_vmid([answer("pve1", "pve9-guests"), *dark])
    assert (found[102].host, found[102].by) == ("resolver", "address")
    assert (found[101].host, found[101].by) == ("WORKER2.example", "name")


def test_a_hypervisor_with_a_guests_name_is_not_the_guest(answer):
    assert by_vmid([answer("worker1", "pve9-guests")])[100].host == ""


@pytest.mark.parametrize(
    ("vips", "carriers"),
    [
        ("192.0.2.100", {100}),
        (["192.0.2.100", "192.0.2.101"], {100}),
        ({"192.0.2.100": "worker2, 102"}, {100, 101, 102}),
        ({"192.0.2.101": ["kube1"]}, {100}),
        ("", set()),
    ],
)
def test_a_virtual_address_is_where_it_was_seen_or_declared(answer, vips, carriers):
    """worker1 is kube1, which has 192.0.2.100 on an interface."""
    variables = {"hostaudit_vips": vips}
    answers = [answer("pve1", "pve9-guests", variables), worker(answer, address="192.0.2.100/32", **variables)]
    assert {vmid for vmid, guest in by_vmid(answers).items() if guest.vips} == carriers


def test_it_is_a_part_of_the_run_in_json_and_a_table_for_people(answer):
    started = datetime(2026, 1, 1, tzinfo=UTC)
    run = judged([answer("pve1", "pve9-guests"), worker(answer)], Request(), started)
    assert stamp(started) == run.started
    out = io.StringIO()
    report.render("json", run, out, report.Style())
    guests = json.loads(out.getvalue())["guests"]
    assert [(g["hypervisor"], g["vmid"], g["host"]) for g in guests] == [
        ("pve1", 100, "kube1"), ("pve1", 101, ""), ("pve1", 102, ""), ("pve1", 900, ""),
    ]  # fmt: skip
    out = io.StringIO()
    report.render("table", run, out, report.Style(width=80))
    text = out.getvalue()
    assert "WHERE THEY RUN" in text
    assert "VM 100 worker1 is kube1: net0 on vmbr0 by tap100i0" in text
    assert "and 3 more guests (-v lists them)" in text
    out = io.StringIO()
    report.render("table", run, out, report.Style(width=80, verbose=1))
    assert "VM 101 worker2: net0 on vmbr0 by tap101i0, firewall=1" in out.getvalue()


def test_the_table_stays_away_where_no_guest_is_a_host_of_the_inventory(answer):
    out = io.StringIO()
    run = judged([answer("pve1", "pve9-guests")], Request(), datetime(2026, 1, 1, tzinfo=UTC))
    report.render("table", run, out, report.Style())
    assert "WHERE THEY RUN" not in out.getvalue()


def test_a_line_says_how_the_host_was_told(answer):
    dark = Unreachable(Host("resolver", (), {"ansible_host": "192.0.2.53"}), "connect", "no route")
    found = by_vmid([answer("pve1", "pve9-guests", {"hostaudit_vips": {"192.0.2.100": "dns1"}}), dark])[102]
    assert line(found) == ("CT 102 dns1 is resolver (told by its address): net0 on vmbr0; not running; VIP 192.0.2.100")
