"""parallel-ssh on libssh2 (ssh2-python). It has no check of host keys."""

from __future__ import annotations

from common import COMMAND, FORKS, KEY, hosts, write
from pssh.clients import ParallelSSHClient

fleet = hosts()
client = ParallelSSHClient(
    [host.address for host in fleet],
    user="root",
    port=fleet[0].port,
    pkey=KEY,
    pool_size=FORKS,
    allow_agent=False,
    identity_auth=False,
    num_retries=1,
    timeout=60,
)
outputs = client.run_command(COMMAND, stop_on_errors=False)
write(None if output.exception else "\n".join(output.stdout) for output in outputs)
