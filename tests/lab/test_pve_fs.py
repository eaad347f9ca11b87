"""/etc/pve of the lab's nodes keeps the rules of pmxcfs; the tests of the role rest on it."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit import hosts, proxmox, proxmox_mount
from roles.play import play

NODES = {"pve1": "boot:trixie+pve", "pve2": "boot:bookworm+pve"}
HERE = "/etc/pve/nodes/pve1"

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with hosts.up({name: hosts.Spec(what) for name, what in NODES.items()}):
        yield


def answer(host: str, command: str) -> str:
    """Return what a shell command printed, both ways, and its exit status where it is not 0."""
    return hosts.script(host, f"{{ {command}; }} 2>&1 || echo exit $?").strip()


def test_what_one_node_writes_is_there_on_the_other() -> None:
    proxmox.write("pve1", "[OPTIONS]\n")
    assert hosts.script("pve2", f"cat {HERE}/host.fw") == "[OPTIONS]\n"
    hosts.script("pve2", f"echo 'ndp: 0' >>{HERE}/host.fw")
    assert proxmox.read("pve1") == "[OPTIONS]\nndp: 0\n"
    proxmox.write("pve1", None)
    # the kernel of the other node may remember the name for a second
    hosts.wait(lambda: "cannot access" in answer("pve2", f"ls {HERE}/host.fw"), 10, "host.fw is still there")


def test_members_and_links() -> None:
    members = [json.loads(hosts.script(name, "cat /etc/pve/.members")) for name in NODES]
    assert [m["nodename"] for m in members] == list(NODES)
    assert all(m["cluster"]["quorate"] == 1 and list(m["nodelist"]) == list(NODES) for m in members)
    assert hosts.script("pve2", "readlink /etc/pve/local").strip() == "nodes/pve2"
    assert json.loads(hosts.script("pve1", "cat /etc/pve/.version"))["starttime"] > 0


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("stat -c '%a %U %G' f", "640 root www-data"),
        ("stat -c '%a %U %G' . /etc/pve/priv", "755 root www-data\n700 root www-data"),
        ("touch /etc/pve/priv/x; stat -c %a /etc/pve/priv/x; chmod 600 /etc/pve/priv/x; rm /etc/pve/priv/x", "600"),
        ("chmod 640 f", ""),
        ("chmod 644 f", "chmod: changing permissions of 'f': Operation not permitted\nexit 1"),
        ("chmod 600 f", "chmod: changing permissions of 'f': Operation not permitted\nexit 1"),
        ("chown root:www-data f", ""),
        ("chown nobody f", "chown: changing ownership of 'f': Operation not permitted\nexit 1"),
        ("ln -s f g", "ln: failed to create symbolic link 'g': Function not implemented\nexit 1"),
        ("ln f g", "ln: failed to create hard link 'g' => 'f': Operation not permitted\nexit 1"),
        ("echo new >t; mv t f; cat f", "new"),
        ("head -c 1048576 /dev/zero >big; stat -c %s big; rm big", "1048576"),
        ("head -c 1048577 /dev/zero >big; rm big", "File too large"),
        ("mkdir d; touch d/x; mv d e", "Directory not empty\nexit 1"),
        ("python3 -c 'import os; os.setxattr(\"f\", \"user.a\", b\"1\")' 2>&1 | tail -n 1",
         "OSError: [Errno 95] Operation not supported: 'f'"),
    ],
)  # fmt: skip
def test_rights_are_fixed(command: str, says: str) -> None:
    hosts.script("pve1", f"cd {HERE}; rm -rf d big; echo old >f")
    told = answer("pve1", f"cd {HERE}; {command}")
    assert told.endswith(says)
    assert bool(told) == bool(says)


def test_without_quorum_nothing_can_be_written_though_root_may() -> None:
    proxmox.write("pve2", "[OPTIONS]\n")
    proxmox_mount.quorum("pve2", lost=True)
    try:
        time.sleep(1.1)  # the kernel keeps attributes for a second
        path = proxmox.host_fw("pve2")
        assert hosts.script("pve2", f"stat -c %a {path} /etc/pve/nodes/pve2").split() == ["440", "555"]
        assert json.loads(hosts.script("pve2", "cat /etc/pve/.members"))["cluster"]["quorate"] == 0
        assert hosts.script("pve2", f"python3 -c 'import os; print(os.access(\"{path}\", os.W_OK))'").strip() == "True"
        for command in (f"echo x | tee -a {path}", f"rm {path}", f"mv {path} {path}2", "mkdir /etc/pve/priv/lock/x"):
            assert "Permission denied" in answer("pve2", command)
        told = answer("pve2", "pvesh set /nodes/pve2/firewall/options --ndp 1")
        assert told.endswith("cfs-lock 'firewall-host-pve2' error: no quorum!\nexit 255")
        assert hosts.script("pve1", "stat -c %a /etc/pve/nodes/pve2").strip() == "755", "the other node has quorum"
    finally:
        proxmox_mount.quorum("pve2", lost=False)
    hosts.script("pve2", f"echo 'ndp: 1' >>{path}; rm {path}")


def test_a_lock_can_be_broken_after_two_minutes_and_not_before() -> None:
    lock = "/etc/pve/priv/lock/firewall-host-pve1"
    hosts.script("pve2", f"mkdir {lock}")
    assert "File exists" in answer("pve1", f"mkdir {lock}")
    assert "Permission denied" in answer("pve1", f"touch -d @0 {lock}")
    assert "Permission denied" in answer("pve1", f"mv {lock} {lock}2")
    stored = proxmox_mount.STORE / "files" / lock.removeprefix("/etc/pve/")
    long_ago = time.time() - 130
    os.utime(stored, (long_ago, long_ago))
    answer("pve1", f"touch -d @0 {lock}")  # it finds nothing to look at any more
    hosts.script("pve1", f"mkdir {lock}; rmdir {lock}")


def test_a_held_lock_lets_pvesh_wait_ten_seconds_and_give_up() -> None:
    lock = "/etc/pve/priv/lock/firewall-host-pve1"
    hosts.script("pve2", f"mkdir {lock}")
    told = answer("pve1", "pvesh set /nodes/pve1/firewall/options --ndp 1").splitlines()
    hosts.script("pve2", f"rmdir {lock}")
    assert told[0] == "trying to acquire cfs lock 'firewall-host-pve1' ..."
    assert told[-2:] == ["cfs-lock 'firewall-host-pve1' error: got lock request timeout", "exit 255"]
    assert proxmox.read("pve1") is None


def test_a_stopped_pve_cluster_leaves_an_empty_directory() -> None:
    hosts.script("pve2", "systemctl stop pve-cluster")
    try:
        assert not hosts.script("pve2", "ls -A /etc/pve")
        assert answer("pve2", "pvesh get /nodes/pve2/firewall/options").startswith("ipcc_send_rec[1] failed")
    finally:
        hosts.script("pve2", "systemctl start pve-cluster")
    assert "local" in hosts.script("pve2", "ls /etc/pve")


@pytest.mark.parametrize(
    ("there", "mode", "fails"), [(False, "0640", True), (True, "0640", False), (True, "0644", True)]
)
def test_what_ansibles_copy_can_do_here(there: bool, mode: str, fails: bool, tmp_path: Path) -> None:
    """As on the real pmxcfs: a new file never works, an existing one with its own mode; see ansible/ansible#70535."""
    proxmox.write("pve1", "old\n" if there else None)
    text = f"""
- hosts: pve1
  gather_facts: false
  tasks:
    - ansible.builtin.copy: {{dest: {proxmox.host_fw("pve1")}, content: "new\\n", mode: "{mode}"}}
"""
    book = tmp_path / "copy.yml"
    book.write_text(text)
    played = play(str(book), {}, "--limit", "pve1")
    assert played.failed["pve1"] == fails, played.text
    assert proxmox.read("pve1") == ("new\n" if there else None)
    proxmox.write("pve1", None)
