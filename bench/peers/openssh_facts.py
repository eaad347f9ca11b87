"""The client of OpenSSH, a process per host, over ControlMasters that are there already where ``FLEET/masters`` is."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

from common import COMMAND, CONFIG, FLEET, FORKS, Host, hosts, write

MASTERS = FLEET / "masters"
SHARED = ("-o", "ControlMaster=auto", "-o", "ControlPersist=600", "-o", f"ControlPath={MASTERS}/%h")


def facts(host: Host) -> str | None:
    shared = SHARED if MASTERS.is_dir() else ()
    command = ["ssh", "-F", CONFIG, "-T", "-x", *shared, host.address, COMMAND]
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return None if done.returncode else done.stdout.decode()


with ThreadPoolExecutor(FORKS) as pool:
    write(pool.map(facts, hosts()))
