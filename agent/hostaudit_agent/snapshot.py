"""The contract between agent and controller: what one reading of a node contains.

Plain dataclasses, so that this file is the schema. The agent fills them on Python 3.9 and prints them with
``as_json``; the controller decodes the same classes with msgspec, which validates at the border. Unknown keys are
ignored by the reader, so a newer agent does not break an older controller; a change of meaning is a new SCHEMA.

Conventions
    ``None`` means *the kernel or the file does not have it* (absence is a value). What exists but could not be read
    is an entry of ``Snapshot.unread`` with the reason, and the whole surface (or that part of it) is ``None``.
    ``delta`` fields are differences between the two samples, ``Snapshot.interval`` seconds apart; ``None`` when
    only one sample was taken or the two cannot be compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SCHEMA = "hostaudit.snapshot/1"
SURFACES = ("platform", "conntrack", "sysctl", "firewall", "link", "counters")


@dataclass
class Unread:
    """One thing that exists, or may exist, and could not be read."""

    surface: str
    """A surface, or a part of one: ``firewall``, ``firewall.iptables-legacy/ip6``, ``conntrack.census``."""
    reason: str
    """A sentence for people: ``needs CAP_NET_ADMIN``."""
    netns: str = ""


# ---- conntrack ------------------------------------------------------------------------------------------------


@dataclass
class Census:
    """Entries of the connection tracking table counted by kind (a dump of ctnetlink, bounded in number)."""

    entries: int
    ipv4: int
    ipv6: int
    protocols: dict[str, int]
    """``tcp``, ``udp``, ``icmp``, ... or the protocol's number."""
    tcp: dict[str, int]
    """TCP entries by state, in the kernel's words: ``SYN_SENT``, ``ESTABLISHED``, ``TIME_WAIT``, ..."""
    unreplied: int
    truncated: bool
    """The bound was reached: the numbers are a sample, not a total. With ``entries`` 0 nothing was counted: only
    ``unreplied`` and ``one_sided`` were read, which the kernel filters and which is therefore cheap."""
    one_sided: list[str] = field(default_factory=list)
    """Up to 64 TCP tuples that wait for a SYN-ACK, ``10.0.0.10:20009>10.0.0.100:8080``: the ingress half of an
    asymmetric handshake."""
    sampled: int = 0
    """Entries that ``sources`` and ``targets`` were taken from: a fair sample, bounded."""
    sources: dict[str, float] = field(default_factory=dict)
    """The addresses that opened the most connections, with their share of the sample (0 to 1)."""
    targets: dict[str, float] = field(default_factory=dict)
    """Where the most connections go, ``tcp 10.0.0.100:443``, with their share."""


@dataclass
class Conntrack:
    """net/netfilter/nf_conntrack_*: the table, its limits and its statistics, of one network namespace."""

    loaded: bool
    """The kernel has connection tracking; everything below is ``None`` or empty when it has not."""
    source: str = ""
    """``nfnetlink`` or ``procfs``: where ``stats`` came from."""
    count: int | None = None
    """Entries in this namespace's table. 0 also means *no hook registered, nothing is tracked* (it is lazy)."""
    max: int | None = None
    max_writable: bool = False
    """False in any namespace but the first: the file has mode 0444 there."""
    buckets: int | None = None
    hashsize: int | None = None
    """/sys/module/nf_conntrack/parameters/hashsize"""
    expect_max: int | None = None
    timeouts: dict[str, int] = field(default_factory=dict)
    """Seconds, by the name between ``nf_conntrack_`` and ``_timeout``: ``tcp_established``, ``udp_stream``."""
    stats: dict[str, int] = field(default_factory=dict)
    """Sum over CPUs of the u32 counters, by their uapi name in lower case: ``invalid``, ``insert_failed``,
    ``drop``, ``early_drop``, ``search_restart``, ``clash_resolve``, ``chain_toolong``. A counter that this kernel
    does not have is absent."""
    per_cpu: list[dict[str, int]] = field(default_factory=list)
    """The same per CPU, counters that are not zero only, with ``cpu``."""
    delta: dict[str, int] | None = None
    """Increase of ``stats`` (per CPU modulo 2**32, then summed) and of ``count`` (may be negative)."""
    census: Census | None = None


# ---- sysctl -----------------------------------------------------------------------------------------------------


@dataclass
class Assignment:
    """One line of a sysctl file."""

    value: str
    file: str
    line: int


@dataclass
class Knob:
    """One sysctl: what runs, and what the files would set at boot."""

    running: str | None
    """White space runs collapsed to one space. ``None``: the kernel has no such key here."""
    writable: bool = False
    configured: Assignment | None = None
    """The line that wins at boot, in the order that this system's systemd-sysctl applies."""
    overridden: list[Assignment] = field(default_factory=list)
    """Lines that lose against ``configured``, in the order they are applied."""


@dataclass
class Sysctl:
    """Knobs by sysctl name. A dot inside an interface name is a slash: ``net.ipv4.conf.eth0/100.rp_filter``."""

    knobs: dict[str, Knob]
    effective: dict[str, dict[str, int]] = field(default_factory=dict)
    """Knob (``rp_filter``) -> interface -> the value that the kernel applies, from conf.all and conf.<if>
    (include/linux/inetdevice.h)."""
    applied_by: str = ""
    """What applies the files at boot: ``systemd 252``, or empty where nothing was found."""
    not_applied: dict[str, str] = field(default_factory=dict)
    """File -> why it has no effect at boot: ``/etc/sysctl.conf`` on Debian 13."""
    modules_at_boot: dict[str, str] | None = None
    """Of ``nf_conntrack`` and ``br_netfilter``, those that are there before the files are applied at boot -> what
    brings them: ``/etc/modules-load.d/x.conf:1``, ``built in``. ``None``: systemd does not apply the files here."""


# ---- firewall ---------------------------------------------------------------------------------------------------


@dataclass
class Rule:
    """One packet filter rule that concerns connection tracking state."""

    backend: str
    """``iptables-legacy``, ``iptables-nft`` or ``nftables``."""
    family: str
    """``ip``, ``ip6``, ``inet``, ``bridge``, ``arp``, ``netdev``."""
    table: str
    chain: str
    index: int
    """Position in its chain, from 1."""
    text: str
    """The rule as its own tool would show it, as far as it can be told."""
    states: list[str]
    """Connection states that it matches: ``["INVALID"]``, ``["INVALID", "NEW"]``."""
    narrowed: bool
    """Further matches (interface, address, protocol) narrow it."""
    verdict: str
    """``drop``, ``reject``, ``notrack``; ``jump X`` where chain X, unconditionally, drops."""
    hooks: list[str]
    """Netfilter hooks from which its chain is reached: ``forward``, ``input``; empty: it can never match."""
    packets: int | None = None
    bytes: int | None = None
    """``None``: the rule has no counter."""
    delta: int | None = None
    """Packets between the samples; ``None`` also when the rule is new or its counter was reset."""


@dataclass
class Firewall:
    """Rules that drop INVALID packets or exempt packets from tracking, and whether bridged packets meet them."""

    invalid: list[Rule]
    """Every rule that drops or rejects packets in state INVALID, whatever its chain."""
    notrack: list[Rule]
    backends: dict[str, int]
    """``iptables-legacy/ip`` -> number of rules seen; a backend that is not present is absent."""
    bridge_nf_call: dict[str, int | None] = field(default_factory=dict)
    """``iptables``, ``ip6tables``, ``arptables``, ``filter-vlan-tagged`` of net.bridge; ``None``: br_netfilter is
    not loaded."""
    bridges: dict[str, dict[str, int]] = field(default_factory=dict)
    """Bridge -> its own ``nf_call_iptables``, ``nf_call_ip6tables``, ``vlan_filtering``."""
    policies: dict[str, str] = field(default_factory=dict)
    """Base chain (``iptables-legacy/ip/filter/FORWARD``) -> ``accept`` or ``drop``."""


# ---- link -------------------------------------------------------------------------------------------------------


@dataclass
class Link:
    """One network interface, from RTM_GETLINK."""

    name: str
    index: int
    mtu: int
    """Bytes, without the link header."""
    kind: str = ""
    """IFLA_INFO_KIND: ``bridge``, ``veth``, ``vxlan``, ``wireguard``, ``bond``; empty for hardware."""
    up: bool = False
    loopback: bool = False
    master: str = ""
    underlay: str = ""
    """The interface that carries this one's packets: VLAN parent, or a tunnel's way to its remote."""
    underlay_by: str = ""
    """How ``underlay`` was found: ``link``, ``route to 10.0.0.2``, ``default route``."""
    peer_elsewhere: bool = False
    """IFLA_LINK_NETNSID: the peer, or the underlay, is in another namespace."""
    overhead: int | None = None
    """Bytes that encapsulation adds per packet; ``None`` where the kind adds none or it is not known."""
    addresses: list[str] = field(default_factory=list)
    """``10.0.0.1/24``, ``fe80::1/64``"""
    mac: str = ""
    details: dict[str, str] = field(default_factory=dict)
    """Of the kind: ``remote``, ``local``, ``id``, ``port``, ``vlan_filtering``."""


@dataclass
class LinkTable:
    """All interfaces, in index order, and the routes out."""

    links: list[Link]
    default_via: list[str] = field(default_factory=list)
    """Interfaces of default routes, IPv4 first."""


# ---- counters ---------------------------------------------------------------------------------------------------


@dataclass
class Counters:
    """Protocol, backlog and neighbour counters, flat.

    ``TcpExt.ListenOverflows``, ``Ip.FragFails``, ``Ip6.*``, ``softnet.dropped``, ``softnet.time_squeeze``,
    ``arp_cache.table_fulls``, ``ndisc_cache.entries``.
    """

    totals: dict[str, int]
    delta: dict[str, int] | None = None
    """Keys that changed only; a key of ``totals`` that is absent here did not move."""


# ---- platform ---------------------------------------------------------------------------------------------------


@dataclass
class FirewallLine:
    """A line of a firewall file that pve-firewall (Perl) and proxmox-firewall (Rust) do not both take as it stands."""

    file: str
    line: int
    text: str
    why: str
    """What is wrong with it, one word: ``comment``, ``boolean``, ``equals``, ``blank``, ``case``, ``duplicate``,
    ``cr``, ``bom``, ``section``, ``outside``, ``misplaced``, ``value``, ``unknown``, ``colon``, ``rule``, ``utf8``."""
    key: str = ""
    """The option that it sets or seems to set, in lower case."""
    perl: str | None = None
    """The value that pve-firewall takes from it; ``None``: it ignores the line."""
    rust: str | None = None
    """The value that proxmox-firewall takes from it; ``None``: it ignores the line, or refuses the file."""
    refuses: bool = False
    """proxmox-firewall refuses the whole file because of it, and with it to change any rule."""


@dataclass
class GuestNic:
    """One network interface of a guest, as its configuration has it."""

    index: int
    mac: str
    """Lower case."""
    bridge: str
    model: str = ""
    """``virtio``, ``e1000``, ...; ``veth`` for a container."""
    firewall: bool = False
    """``firewall=1``: with iptables, a bridge of its own (fwbr) stands between the guest and ``bridge``."""
    tag: int | None = None
    trunks: str = ""
    mtu: int | None = None
    """As configured; 1 is the bridge's own. ``None``: not set."""
    link_down: bool = False
    addresses: list[str] = field(default_factory=list)
    """A container's, ``10.0.0.5/24``; Proxmox does not know a virtual machine's."""
    ipfilter: list[str] | None = None
    """Entries of the set ``ipfilter-net<index>`` of the guest's firewall; ``None``: there is no such set."""


@dataclass
class GuestFirewall:
    """/etc/pve/firewall/<VMID>.fw as the live implementation reads it."""

    enabled: bool = False
    policy_in: str = "DROP"
    policy_out: str = "ACCEPT"
    ipfilter: bool = False
    accepts: list[str] = field(default_factory=list)
    """Up to 32 rules in force that accept incoming packets, those of its security groups included."""


@dataclass
class Guest:
    """A virtual machine or container of a Proxmox VE node."""

    vmid: int
    kind: str
    """``qemu`` or ``lxc``."""
    name: str = ""
    nics: list[GuestNic] = field(default_factory=list)
    firewall: GuestFirewall | None = None
    """``None``: it has no file, so nothing of it is filtered."""


@dataclass
class Proxmox:
    """A Proxmox VE node and the state of its firewall."""

    version: str
    node: str
    mounted: bool
    """/etc/pve is the cluster file system (``.version`` exists), not an empty directory."""
    quorate: bool | None = None
    cluster_enabled: bool | None = None
    """``enable`` of cluster.fw; ``None``: no such file or unreadable."""
    implementation: str = ""
    """``iptables``, ``nftables`` or ``off``: which one makes the rules now."""
    running: bool | None = None
    """The daemon of that implementation runs."""
    options: dict[str, str] = field(default_factory=dict)
    """host.fw [OPTIONS] as the live implementation reads them; only keys that are set."""
    options_file: str = ""
    ignored: list[str] = field(default_factory=list)
    """Lines of host.fw that the live implementation does not take, as ``FILE:LINE: text``."""
    comments: list[str] = field(default_factory=list)
    """Lines of host.fw that are comments, as ``FILE:LINE: text``: pvesh deletes them when it saves."""
    misread: list[FirewallLine] = field(default_factory=list)
    """Lines of cluster.fw, host.fw and the local guests' files that not both implementations take as they stand."""
    misplaced: list[str] = field(default_factory=list)
    """Files that look like configuration of the firewall and that nothing reads: ``/etc/pve/firewall/host.fw``."""
    cluster_enable: str = ""
    """``enable`` of cluster.fw as it is written; a number above 1 is the time at which it was switched on."""
    force_disabled: bool = False
    """pve-firewall (5.0.6 and later) tells proxmox-firewall by a flag file in /run to stay off."""
    nftables_installed: bool = False
    """The program of the nftables implementation is there and executable."""
    packages: dict[str, str] = field(default_factory=dict)
    """Of those that matter here, the ones installed, with their version: ``pve-firewall``, ``proxmox-firewall``."""
    guests: list[Guest] = field(default_factory=list)
    """Virtual machines and containers that are configured on this node, in order of VMID."""
    pending_network: list[str] | None = None
    """What /etc/network/interfaces.new would change, ``+ mtu 9000``; ``None``: nothing is pending."""


@dataclass
class Owner:
    """Something on this node that writes knobs again after somebody else changed them."""

    name: str
    """``pve-firewall``, ``proxmox-firewall``, ``kube-proxy``, ``cilium``, ``docker``, ``tuned``, ``ufw``."""
    evidence: str
    """What shows that it is here: ``process 812 (kube-proxy)``."""
    version: str = ""


@dataclass
class Platform:
    """What machine this is."""

    hostname: str
    kernel: str
    os_id: str = ""
    os_version: str = ""
    os_name: str = ""
    """PRETTY_NAME of os-release."""
    arch: str = ""
    init: str = ""
    """``systemd`` when it is PID 1."""
    container: str = ""
    """``lxc``, ``systemd-nspawn``, ``docker``; empty on a machine of its own."""
    first_netns: bool | None = None
    """The agent ran in the kernel's first network namespace; ``None``: could not be told."""
    cpus: int = 0
    memory: int = 0
    """Bytes."""
    uptime: float = 0.0
    """Seconds."""
    modules: list[str] = field(default_factory=list)
    """Of those that matter here, the ones present (loaded or built in): ``nf_conntrack``, ``br_netfilter``."""
    proxmox: Proxmox | None = None
    owners: list[Owner] = field(default_factory=list)


# ---- the whole --------------------------------------------------------------------------------------------------


@dataclass
class Namespace:
    """The surfaces of another network namespace of the same host (``--all-netns``)."""

    name: str
    """``netns blue`` (ip-netns), or ``pid 812 nginx`` for one that only processes hold."""
    conntrack: Conntrack | None = None
    sysctl: Sysctl | None = None
    firewall: Firewall | None = None
    link: LinkTable | None = None
    counters: Counters | None = None


@dataclass
class Snapshot:
    """One reading of one node."""

    agent: str
    """The agent's version."""
    taken: float
    """Unix time, seconds, of the last sample."""
    interval: float
    """Seconds between the two samples as measured; 0: one sample, no deltas."""
    privileged: bool
    """Ran with CAP_NET_ADMIN."""
    python: str = ""
    cpu_ms: float = 0.0
    peak_kib: int = 0
    platform: Platform | None = None
    conntrack: Conntrack | None = None
    sysctl: Sysctl | None = None
    firewall: Firewall | None = None
    link: LinkTable | None = None
    counters: Counters | None = None
    namespaces: list[Namespace] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    schema: str = SCHEMA
