"""Which modules are there before sysctl.d is applied; tests/lab/vm shows it on real boots."""

from pathlib import Path

import pytest

from hostaudit_agent.atboot import loaded
from hostaudit_agent.root import Root

RELEASE = "6.1.0-50-amd64"
DEP = """\
kernel/net/netfilter/nf_conntrack.ko: kernel/net/netfilter/nf_defrag_ipv4.ko kernel/lib/libcrc32c.ko
kernel/net/netfilter/xt_conntrack.ko: kernel/net/netfilter/nf_conntrack.ko kernel/net/netfilter/nf_defrag_ipv4.ko
kernel/net/bridge/br_netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz
kernel/drivers/block/loop.ko:
"""


@pytest.fixture
def top(tmp_path: Path) -> Path:
    files = {
        "proc/sys/kernel/osrelease": f"{RELEASE}\n",
        "proc/modules": "ext4 1 1 - Live 0x0\n",
        "proc/cmdline": "root=/dev/vda quiet\n",
        f"lib/modules/{RELEASE}/modules.builtin": "kernel/fs/ext2/ext2.ko\n",
        f"lib/modules/{RELEASE}/modules.dep": DEP,
    }
    for name, text in files.items():
        write(tmp_path, name, text)
    return tmp_path


def write(top: Path, name: str, text: str) -> None:
    path = top / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("etc/modules-load.d/a.conf", "# nf_conntrack\n\nloop\n", {}),
        ("etc/modules-load.d/a.conf", "loop\n nf_conntrack\n", {"nf_conntrack": "/etc/modules-load.d/a.conf:2"}),
        ("usr/lib/modules-load.d/k8s.conf", "br-netfilter", {"br_netfilter": "/usr/lib/modules-load.d/k8s.conf:1"}),
        (
            "etc/modules-load.d/a.conf",
            "xt_conntrack\n",
            {"nf_conntrack": "/etc/modules-load.d/a.conf:1 (xt_conntrack needs it)"},
        ),
        ("etc/modules-load.d/a.txt", "nf_conntrack\n", {}),
        (
            "proc/cmdline",
            "quiet modules_load=loop,nf_conntrack\n",
            {"nf_conntrack": "modules_load=loop,nf_conntrack of the kernel's command line"},
        ),
        (
            f"lib/modules/{RELEASE}/modules.builtin",
            "kernel/net/netfilter/nf_conntrack.ko\n",
            {"nf_conntrack": "built in"},
        ),
    ],
)
def test_what_brings_a_module(top: Path, name: str, text: str, found: dict[str, str]) -> None:
    write(top, name, text)
    assert loaded(Root(str(top))) == found


def test_a_file_in_etc_hides_its_namesake_and_may_be_empty(top: Path) -> None:
    write(top, "usr/lib/modules-load.d/a.conf", "nf_conntrack\n")
    (top / "etc/modules-load.d").mkdir(parents=True)
    (top / "etc/modules-load.d/a.conf").symlink_to("/dev/null")
    assert loaded(Root(str(top))) == {}


@pytest.mark.parametrize("target", ["../modules", "/etc/modules"])
def test_debian_links_etc_modules_there(top: Path, target: str) -> None:
    write(top, "etc/modules", "nf_conntrack\n")
    (top / "etc/modules-load.d").mkdir()
    (top / "etc/modules-load.d/modules.conf").symlink_to(target)
    assert loaded(Root(str(top))) == {"nf_conntrack": "/etc/modules-load.d/modules.conf:1"}


def test_a_kernel_without_modules_has_them_or_will_never(top: Path) -> None:
    (top / "proc/modules").unlink()
    assert set(loaded(Root(str(top)))) == {"nf_conntrack", "br_netfilter"}


def test_the_initramfs_loads_before_all_others(top: Path) -> None:
    write(top, "etc/initramfs-tools/modules", "# with its hash\nnf_conntrack hashsize=65536\n")
    write(top, "etc/modprobe.d/cis.conf", "blacklist nf_conntrack\n")
    assert loaded(Root(str(top))) == {"nf_conntrack": "/etc/initramfs-tools/modules:2"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("etc/modprobe.d/cis.conf", "blacklist br-netfilter\n"),
        ("proc/cmdline", "quiet modprobe.blacklist=br_netfilter\n"),
    ],
)
def test_what_is_blacklisted_is_not_loaded(top: Path, name: str, text: str) -> None:
    write(top, "etc/modules-load.d/k8s.conf", "br_netfilter\n")
    assert loaded(Root(str(top))) == {"br_netfilter": "/etc/modules-load.d/k8s.conf:1"}
    write(top, name, text)
    assert loaded(Root(str(top))) == {}
