"""Faults of a host: how each begins and how it is mended, as scripts that run inside it, past its sshd."""

from dataclasses import dataclass

CONTROLLER = "10.77.0.1"


@dataclass(frozen=True)
class HostFault:
    """One way in which a host fails while it is changed."""

    begin: str
    mend: str
    seconds: float = 0.0
    """After which it is mended; 0: when the host is as before by itself, or at the latest when its time is over."""
    wanted: str = ""
    """What the hosts have to be for it: ``disk`` a disk of limited size, ``sudo`` an ordinary user."""


REBOOT = "host rebooted"
"""Not for a host with a disk of limited size: in the lab that is memory, and new after a reboot."""
PAST = 45.0
"""Seconds: past the time for the confirmation, so that the guard meets the fault, too."""

FAULTS = {
    "disk full": HostFault(
        "df --output=size / | awk 'NR == 2 && $1 > 1000000 {exit 1}'; for size in 64k 512; do "
        "dd if=/dev/zero of=/filler.$size bs=$size 2>/dev/null || :; done",
        "rm -f /filler.*",
        PAST,
        "disk",
    ),
    "host read-only": HostFault(
        "for d in /etc /usr /var /root; do mount --bind $d $d; mount -o remount,bind,ro $d; done",
        "for d in /etc /usr /var /root; do umount -l $d; done",
        PAST,
    ),
    "sudo lost": HostFault("mv /etc/sudoers.d/audit /root/kept", "mv /root/kept /etc/sudoers.d/audit", 0, "sudo"),
    "Python gone": HostFault("mv /usr/bin/python3 /root/python3", "mv /root/python3 /usr/bin/python3"),
    "SSH cut by a firewall rule": HostFault(
        "nft 'add table inet cut; add chain inet cut i { type filter hook input priority 0; }; "
        "add rule inet cut i tcp dport 22 drop'",
        "nft delete table inet cut",
    ),
    "new connections blocked, a multiplexed one lives": HostFault(
        "nft 'add table inet cut; add chain inet cut i { type filter hook input priority 0; }; "
        "add rule inet cut i tcp dport 22 tcp flags & (fin|syn|rst|ack) == syn drop'",
        "nft delete table inet cut",
    ),
    "SSH cut by a route": HostFault(
        f"ip route add blackhole {CONTROLLER}/32", f"ip route del blackhole {CONTROLLER}/32"
    ),
    # large segments vanish between host and controller, small ones pass: logins work and answers hang
    "SSH cut by an MTU": HostFault(
        "ip link set eth0 gso_max_segs 1; nft 'add table inet cut; "
        "add chain inet cut o { type filter hook output priority 0; }; "
        "add chain inet cut i { type filter hook input priority 0; }; "
        "add rule inet cut o tcp sport 22 meta length > 600 drop; "
        "add rule inet cut i tcp dport 22 meta length > 600 drop'",
        "nft delete table inet cut; ip link set eth0 gso_max_segs 65535",
    ),
    REBOOT: HostFault("systemctl reboot --force --force & :", ""),
}
USER = """
id audit >/dev/null 2>&1 || useradd -m audit
mkdir -p ~audit/.ssh
cp /root/.ssh/authorized_keys ~audit/.ssh/
chown -R audit ~audit/.ssh
echo 'audit ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/audit
chmod 440 /etc/sudoers.d/audit
"""
LOGIN = {"ansible_user": "audit", "ansible_become": "true"}
