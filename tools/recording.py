"""Record the outage of the documentation anew, on hosts of the lab, with real packets; then `make docs` draws it.

    sudo .venv/bin/python tests/lab/lab.py build bookworm trixie
    sudo .venv/bin/python tests/lab/lab.py run -- .venv/bin/python tools/recording.py

Two Proxmox VE nodes (stand-ins, docs/lab-proxmox.md) carry a service with direct server return, and let INVALID pass.
Somebody takes that option out of both host.fw; then hostaudit is run, traces and probes, and sets the option again. All
is done from the client's namespace, as on an operator's machine. Written are docs/outage.answers.json, what the hosts
answered while odd ports failed, and docs/outage.context.json: the rates of all runs up to the cure, both changes, the
probe and the trace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests/lab"))

from labkit import hosts, proxmox  # noqa: E402 - the lab is no package that is installed
from labkit.audit import write_inventory  # noqa: E402
from labkit.outage import HYPERVISORS, PORT, WORKERS, sysctl  # noqa: E402
from labkit.tracenet import Net  # noqa: E402

from hostaudit.commands.beside import of_history  # noqa: E402
from hostaudit.history import History  # noqa: E402
from hostaudit.journal import Journal  # noqa: E402
from hostaudit.report.page.context import Context, Event, Probed  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTAUDIT = Path(sys.executable).with_name("hostaudit")
WHY = "DSR: w2 answers for the load balancer on w1"
SPECS = {
    "h1": hosts.Spec("boot:trixie+pve", groups=("hypervisors",)),
    "h2": hosts.Spec("boot:bookworm+pve", groups=("hypervisors",)),
    **{name: hosts.Spec("ns:bookworm", groups=("workers",)) for name in WORKERS},
}
GUESTS = {"h1": (101, "w1"), "h2": (102, "w2")}
NAMED = ("unshare", "--uts", "sh", "-c", 'hostname admin1; exec "$@"', "sh")
"""The journal writes down from which machine a change was made."""
PHASE = 25
"""Seconds before somebody takes the option out, before hostaudit is asked, and after the cure."""
PAUSE = 2
"""Seconds between two of the audits that give the rates."""


class Client:
    """Runs hostaudit in the client's namespace, with an inventory and a journal in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = f"sqlite:///{folder}/journal.db"
        reasons = {name: {"hostaudit_asymmetric": WHY} for name in HYPERVISORS}
        self.inventory = write_inventory(folder / "inventory.ini", (*HYPERVISORS, *WORKERS), reasons)

    def __call__(self, *words: object) -> str:
        """Return stdout; fails where hostaudit could not do it."""
        command = ["ip", "netns", "exec", "client", *NAMED, HOSTAUDIT, *words, "-i", self.inventory]
        environment = os.environ | {"HOSTAUDIT_JOURNAL": self.journal}
        done = subprocess.run(
            [str(word) for word in command],
            check=False, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode not in (0, 8):
            raise SystemExit(f"hostaudit {words[0]}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        sys.stderr.write(f"recording: {words[0]}\n")
        return done.stdout

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Audit again and again meanwhile, quickly, so that rates have a course."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(PAUSE):
                self("run", "-q", "--interval", "1", "--format", "json")

        with ThreadPoolExecutor(1) as pool:
            watched = pool.submit(watch)
            try:
                yield
            finally:
                over.set()
            watched.result()


def main() -> int:
    """Write both files."""
    with hosts.up(SPECS):
        net = Net("bridge", proxmox.Node({}, 1, GUESTS))
        try:
            net.build()
            net.cable()
            for name in HYPERVISORS:
                net.allow(name)
            # connections that were open when the drops begin end within seconds, else h1 drops their last packets, too
            sysctl("client", {"net.ipv4.tcp_orphan_retries": 1})
            with tempfile.TemporaryDirectory() as folder, net.keep_trying(300):
                _write(_story(net, Client(Path(folder))))
        finally:
            net.close()
    return 0


def _story(net: Net, hostaudit: Client) -> Context:
    """Go through the outage, and return what stands beside the run that is kept."""
    with hostaudit.watching():
        time.sleep(PHASE)
        removed = datetime.now(UTC)
        for name in HYPERVISORS:
            net.drop(name)
        time.sleep(PHASE)
        answers = TOP / "docs/outage.answers.json"
        kept = json.loads(hostaudit("run", "-q", "--interval", "4", "--save", answers, "--format", "json"))
        _plain(answers)
        hostaudit("trace", f"{net.vip}:{PORT}", "-q", "-l", "hypervisors", "--context", "trace.json")
        words = ("--count", "40", "--every", "0.05", "--from", "here", "--from", "w1", "--format", "json")
        probed = json.loads(hostaudit("probe", "tcp", f"{net.vip}:{PORT}", *words))["tcp"]
        hostaudit("plan", "-o", "plan.json", "--interval", "1")
        hostaudit("apply", "plan.json", "--reason", WHY, "--ticket", "OPS-42", "--watch", "1", "--verify-seconds", "2")
        time.sleep(PHASE)
    with History.open(hostaudit.journal, readonly=True) as history, Journal.open(hostaudit.journal, readonly=True) as j:
        run = history.read.run(history.read.find(kept["id"]))
        beside = of_history(history, j, history.read.runs()[-1], run)
    by_hand = Event(
        f"{removed:%Y-%m-%dT%H:%M:%SZ}", "host.fw: nf_conntrack_allow_invalid 1 -> absent", "unrecorded", HYPERVISORS
    )
    traced = json.loads((hostaudit.folder / "trace.json").read_text())["traces"]
    return Context(beside.series, (by_hand, *beside.events), (), tuple(map(_probed, probed)), tuple(traced))


def _plain(answers: Path) -> None:
    """Let the record be read, and leave out of it what names the machine it was made on."""
    release = os.uname().release
    answers.write_text(answers.read_text("utf-8").replace(release, release.partition("-")[0]), "utf-8")
    answers.chmod(0o644)


def _probed(one: dict[str, Any]) -> Probed:
    marks = "".join("+" if each["outcome"] == "ok" else "-" for each in one["connections"])
    vantage = "client" if one["vantage"] == "here" else one["vantage"]
    notes = [one["pattern"], f"p95 {one['connect_ms']['p95']:.1f} ms" if one["connect_ms"] else ""]
    return Probed(vantage, one["target"], one["verdict"], marks, "; ".join(filter(None, notes)))


def _write(context: Context) -> None:
    text = json.dumps(asdict(context), indent=1, ensure_ascii=False)
    (TOP / "docs/outage.context.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
