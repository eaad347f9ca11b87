"""An inventory that comes from Proxmox VE itself: the plugin of community.proxmox, against a recorded API on loopback.

The answers have the shape that the API documents (`/nodes`, `/nodes/NODE/network`, `/nodes/NODE/qemu`, `/pools`). The
collection is no dependency of hostaudit and comes with 600 MB of others (pip install ansible requests), so these tests
are asked for: `-m community`.
"""

import importlib.util
import json
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hostaudit import inventory
from hostaudit.errors import InventoryError

GOOD = "00000000-0000-0000-0000-000000000000"
TOKEN = f"PVEAPIToken=audit@pve!hostaudit={GOOD}"
PLACES = [*os.environ.get("ANSIBLE_COLLECTIONS_PATH", "").split(":"), *sys.path]
NEEDED = {
    "the collection community.proxmox (pip install ansible)": any(
        Path(place, "ansible_collections/community/proxmox").exists() for place in PLACES if place
    ),
    "requests, which its plugin imports (pip install requests)": importlib.util.find_spec("requests") is not None,
}
MISSING = [what for what, there in NEEDED.items() if not there]
pytestmark = [
    pytest.mark.community,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]

BRIDGE = {"type": "bridge", "iface": "vmbr0", "active": 1, "gateway": "10.77.0.1", "cidr": "24"}
ANSWERS = {
    "/nodes": [
        {"node": "pve1", "type": "node", "status": "online", "id": "node/pve1"},
        {"node": "pve2", "type": "node", "status": "online", "id": "node/pve2"},
        {"node": "pve3", "type": "node", "status": "offline", "id": "node/pve3"},
    ],
    "/nodes/pve1/network": [{"type": "eth", "iface": "eno1", "active": 1}, BRIDGE | {"address": "10.77.0.11"}],
    "/nodes/pve2/network": [BRIDGE | {"address": "10.77.0.12"}, {"type": "bridge", "iface": "vmbr1"}],
    "/nodes/pve1/lxc": [],
    "/nodes/pve2/lxc": [],
    "/nodes/pve1/qemu": [{"vmid": 101, "name": "w1", "status": "running"}],
    "/nodes/pve2/qemu": [],
    "/nodes/pve1/qemu/101/config": {"name": "w1", "net0": "virtio=02:00:00:00:01:01,bridge=vmbr0"},
    "/nodes/pve1/qemu/101/status/current": {"status": "running", "vmid": 101},
    "/pools": [],
}
SOURCE = """\
plugin: community.proxmox.proxmox
url: {url}
user: audit@pve
token_id: hostaudit
token_secret: "{secret}"
validate_certs: true
want_proxmox_nodes_ansible_host: true
"""
VARIABLES = "hostaudit_asymmetric: DSR\nansible_user: root\n"


class Api(BaseHTTPRequestHandler):
    """Answers as pveproxy does: 401 without a good token, 501 for a path that it does not know."""

    def do_GET(self) -> None:
        body, status = ANSWERS.get(self.path.removeprefix("/api2/json")), 200
        if self.headers.get("Authorization") != TOKEN:
            status, body = 401, None
        elif body is None:
            status = 501
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"data": body}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def source(directory: Path, url: str, secret: str = GOOD) -> Path:
    (directory / "group_vars").mkdir()
    (directory / "group_vars" / "proxmox_nodes.yml").write_text(VARIABLES)
    path = directory / "cluster.proxmox.yml"
    path.write_text(SOURCE.format(url=url, secret=secret))
    return path


def test_nodes_come_with_their_addresses_and_variables(url: str, tmp_path: Path) -> None:
    found, _ = inventory.read([str(source(tmp_path, url))], "proxmox_nodes")
    assert [host.name for host in found] == ["pve1", "pve2", "pve3"], "a node that is down is asked, and reported"
    assert [host.variables.get("ansible_host") for host in found] == ["10.77.0.11", "10.77.0.12", None]
    assert {(host.groups, host.asymmetric) for host in found} == {(("proxmox_nodes",), "DSR")}


def test_a_token_that_is_not_valid_is_an_error(url: str, tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="401"):
        inventory.read([str(source(tmp_path, url, "wrong"))], "proxmox_nodes")


def test_an_api_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="Connection refused"):
        inventory.read([str(source(tmp_path, "http://127.0.0.1:1"))], "proxmox_nodes")
