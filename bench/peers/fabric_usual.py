"""fabric as one would write it: a pool of threads, a Connection per host, strict host keys from known_hosts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import paramiko
from common import COMMAND, FORKS, KEY, KNOWN, Host, hosts, write
from fabric import Connection


def facts(host: Host) -> str | None:
    options = {"key_filename": KEY, "allow_agent": False, "look_for_keys": False, "banner_timeout": 60}
    connection = Connection(host.address, user="root", port=host.port, connect_timeout=60, connect_kwargs=options)
    try:
        connection.client.load_host_keys(KNOWN)
        connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        return str(connection.run(COMMAND, hide=True, in_stream=False).stdout)
    except Exception:  # noqa: BLE001 - a lost host is counted
        return None
    finally:
        connection.close()


with ThreadPoolExecutor(FORKS) as pool:
    write(pool.map(facts, hosts()))
