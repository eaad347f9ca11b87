"""asyncssh, tuned: key and known_hosts read once, no agent, curve25519 and an AEAD."""

from __future__ import annotations

import asyncio

import asyncssh
from common import COMMAND, FLEET, FORKS, KEY, Host, hosts, write


async def main() -> None:
    places = asyncio.Semaphore(FORKS)
    options = asyncssh.SSHClientConnectionOptions(
        username="root",
        client_keys=[asyncssh.read_private_key(KEY)],
        known_hosts=asyncssh.read_known_hosts(f"{FLEET}/plain_hosts"),  # it tries every hashed line for every host
        config=None,
        agent_path=None,
        kex_algs=["curve25519-sha256"],
        encryption_algs=["aes128-gcm@openssh.com"],
        preferred_auth=["publickey"],
        login_timeout=60,
        connect_timeout=60,
    )

    async def facts(host: Host) -> str | None:
        async with places:
            try:
                async with asyncssh.connect(host.address, host.port, options=options) as connection:
                    return str((await connection.run(COMMAND, check=True)).stdout)
            except (OSError, asyncssh.Error):
                return None

    write(await asyncio.gather(*(facts(host) for host in hosts())))


asyncio.run(main())
