"""pyinfra through its API: connect to all, one fact of each."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

from common import COMMAND, FLEET, FORKS, KEY, hosts, write  # noqa: E402 - gevent has to come first
from pyinfra.api import Config, FactBase, Inventory, State  # noqa: E402 - as above
from pyinfra.api.connect import connect_all  # noqa: E402 - as above
from pyinfra.api.facts import get_facts  # noqa: E402 - as above
from pyinfra.context import ctx_state  # noqa: E402 - as above


class Facts(FactBase):  # type: ignore[misc] # no type information
    """The fact set as it is printed."""

    def command(self) -> str:
        """Return what to run."""
        return COMMAND

    def process(self, output: list[str]) -> str:
        """Return what it said."""
        return "\n".join(output)


def options(address: str, port: int) -> dict[str, object]:
    """Return how to log in."""
    return {
        "ssh_hostname": address,
        "ssh_port": port,
        "ssh_user": "root",
        "ssh_key": KEY,
        "ssh_known_hosts_file": f"{FLEET}/plain_hosts",
        "ssh_strict_host_key_checking": "yes",
        "ssh_config_file": "/dev/null",
        "ssh_allow_agent": False,
        "ssh_look_for_keys": False,
    }


inventory = Inventory(([(host.name, options(host.address, host.port)) for host in hosts()], {}))
state = State(inventory, Config(PARALLEL=FORKS, CONNECT_TIMEOUT=60))
with ctx_state.use(state):
    connect_all(state)
    write(get_facts(state, Facts).values())
