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

from hostaudit_agent.records import dataclass, field

SCHEMA = "hostaudit.snapshot/1"
SURFACES = (
    "platform",
    "conntrack",
    "sysctl",
    "firewall",
    "link",
    "counters",
    "device",
    "kmsg",
    "sockets",
    "processes",
    "route",
    "neighbour",
    "resolver",
    "ring",
    "bpf",
)


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
class NatRule:
    """One rule that changes the source address of packets, or their destination by hand (not a Service's backend)."""

    backend: str
    family: str
    table: str
    chain: str
    index: int
    text: str
    kind: str
    """``masquerade``, ``snat``, ``dnat``, ``redirect``."""
    source: str = ""
    """Prefix that it matches, ``10.244.0.0/16``, ``! 10.0.0.0/8``; ``...`` for a set; empty: any."""
    destination: str = ""
    in_interface: str = ""
    out_interface: str = ""
    marked: bool = False
    """It matches a mark: something before it chose the packets."""
    hooks: list[str] = field(default_factory=list)
    packets: int | None = None
    delta: int | None = None


@dataclass
class MssRule:
    """One rule that lowers the MSS of TCP connections as they open."""

    backend: str
    family: str
    table: str
    chain: str
    index: int
    text: str
    size: str
    """``pmtu``, or bytes."""
    in_interface: str = ""
    out_interface: str = ""
    hooks: list[str] = field(default_factory=list)
    packets: int | None = None
    delta: int | None = None


@dataclass
class TooBigDrop:
    """Where ICMP type 3 code 4, or ICMPv6 packet-too-big, of a known connection dies while its TCP segments pass."""

    backend: str
    family: str
    """``ip`` or ``ip6``: of the packet."""
    table: str
    base: str
    """The base chain that is entered at ``hook``."""
    hook: str
    chain: str
    index: int
    """Of the rule that drops, from 1; 0: the policy of the base chain."""
    text: str
    icmp_only: bool = False
    """The rule takes nothing but ICMP, so its counter counts nothing else."""
    narrowed: str = ""
    """``interface``: it drops them on some interfaces only; empty: all of them."""
    packets: int | None = None
    delta: int | None = None


@dataclass
class Backend:
    """An address that DNAT rules or entries of connection tracking send packets to, and that nobody is behind."""

    address: str
    """``10.244.1.7``"""
    why: str
    """``no route``, ``neighbour failed on cni0``."""
    chains: list[str] = field(default_factory=list)
    """Up to 4 chains whose DNAT rule sends packets there; none: only old entries do."""
    flows: list[str] = field(default_factory=list)
    """Up to 8 DNAT entries to it, ``udp 10.0.0.9:4000>10.96.0.10:53``, those that were refreshed first."""
    lasting: bool = False
    """It was so in both samples."""
    refreshed: int = 0
    """Of the entries in both samples, those that packets refreshed in between."""
    packets: int | None = None
    """Of its DNAT rules: connections sent there."""
    delta: int | None = None


@dataclass
class XtablesLock:
    """Who holds /run/xtables.lock, and who waits for it (flock(2), /proc/locks)."""

    holder: str = ""
    """``812 kube-proxy`` in the last sample."""
    waiting: list[str] = field(default_factory=list)
    held_throughout: bool = False
    """The same process held it in both samples."""
    waited_throughout: list[str] = field(default_factory=list)
    """Processes that waited in both samples."""


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
    nat: list[NatRule] = field(default_factory=list)
    """Up to 256 rules; those to backends of Services are counted in ``backends_seen`` instead."""
    mss: list[MssRule] = field(default_factory=list)
    too_big: list[TooBigDrop] = field(default_factory=list)
    dead_backends: list[Backend] = field(default_factory=list)
    """Up to 64 addresses in networks of this host's own bridges and routed guests."""
    backends_seen: int = 0
    """Addresses that DNAT rules send packets to."""
    kube_proxy: list[str] = field(default_factory=list)
    """Modes of kube-proxy whose rules are here: ``iptables``, ``nftables``, ``ipvs``."""
    xtables_lock: XtablesLock | None = None
    """``None``: there is no such file."""


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


# ---- device -----------------------------------------------------------------------------------------------------


@dataclass
class Device:
    """What one network interface and its queue counted."""

    name: str
    speed: int | None = None
    """Mbit/s, as the driver says (ETHTOOL_GLINKSETTINGS); ``None``: it does not say, or there is no link. That of a
    virtual interface means nothing."""
    duplex: str = ""
    """``full`` or ``half``; empty where it is not known."""
    tx_checksum: bool | None = None
    """The device is trusted to compute checksums of what is sent (ETHTOOL_GTXCSUM)."""
    qdisc: str = ""
    """Kind of the root queueing discipline: ``mq``, ``fq_codel``, ``tbf``; empty where there is none."""
    totals: dict[str, int] = field(default_factory=dict)
    """Counters of struct rtnl_link_stats64 by their name in the kernel (``rx_packets``, ``rx_missed_errors``), and of
    the root queueing discipline: ``qdisc.drops``, ``qdisc.overlimits``, ``qdisc.requeues``, ``qdisc.qlen`` (packets
    that wait) and ``qdisc.backlog`` (their bytes). Those that are zero are left out."""
    delta: dict[str, int] | None = None
    """Increases, of counters that moved only; ``None`` also where the interface is new."""


@dataclass
class DeviceTable:
    """All network interfaces but loopback, by name."""

    devices: list[Device]
    left_out: int = 0
    """Interfaces beyond the bound; those that moved least are left out."""


# ---- kmsg -------------------------------------------------------------------------------------------------------


@dataclass
class KernelEvent:
    """What the kernel logged of one kind about one subject."""

    kind: str
    """``conntrack-full``, ``neigh-full``, ``udp-checksum``, ``oom-kill``, ``martian``, ``invalid-new``, ``nic-reset``,
    ``link-down``, ``hung-task``, ``syn-flood``."""
    subject: str
    """What it is about: an interface, a control group, ``arp_cache``; empty where the line names nothing, ``others``
    beyond the bound."""
    count: int
    first: float
    """Unix time. The kernel stamps its lines with a clock that is not set: after months of running it can be minutes
    off."""
    last: float
    during: int = 0
    """Of ``count``, those that were logged between the two samples."""
    example: str = ""
    """The last such line, shortened."""


@dataclass
class KernelLog:
    """What the kernel logged about packets and memory lately, from /dev/kmsg; lines of programs do not count."""

    own: bool
    """This is the machine whose log it is. A container has none of its own, and reads nothing here."""
    seconds: float = 0.0
    """How far back it was looked; less than an hour where the machine, or what is left of its log, is younger."""
    lines: int = 0
    """Lines of the kernel in that time, whatever they say."""
    suppressed: int = 0
    """Lines that the kernel says it did not log because there were too many (``callbacks suppressed``)."""
    events: list[KernelEvent] = field(default_factory=list)


# ---- series -----------------------------------------------------------------------------------------------------


@dataclass
class Job:
    """Something that this node starts by the clock."""

    name: str
    """The unit, the job, or the program without its arguments."""
    schedule: str
    """As its file has it: ``*/5 * * * *``, ``OnCalendar=*:0/5``, ``21:00``."""
    file: str


@dataclass
class Series:
    """Readings one a second between the two samples, taken with an ``--interval`` of a minute or more."""

    started: float
    """Unix time of the first reading; the numbers below are the increases in the second after it, and so on."""
    retransmitted: list[int]
    """Tcp.RetransSegs"""
    sent: list[int]
    """Tcp.OutSegs"""
    octets: list[int]
    """Bytes received and sent by the hardware interfaces; by all but loopback where there are none."""
    jobs: list[Job] = field(default_factory=list)
    """Up to 128: cron tables, timers of systemd, jobs of Proxmox VE."""


# ---- sockets and processes --------------------------------------------------------------------------------------


@dataclass
class Process:
    """A process, by number and name."""

    pid: int
    name: str = ""
    """/proc/PID/comm: 15 bytes at most."""
    unit: str = ""
    """The systemd unit or the container that its control group names: ``nginx.service``."""


@dataclass
class Listener:
    """A listening TCP socket."""

    address: str
    """``0.0.0.0:8080``, ``[::]:443``"""
    queue: int
    """Connections that wait for accept()."""
    backlog: int | None = None
    """What the program asked for, capped by somaxconn; ``None``: not told (/proc/net/tcp)."""
    half_open: int = 0
    """Handshakes to this port that wait for the client's ACK."""
    dropped: int | None = None
    """Connections and SYNs that it refused between the samples (sk_drops); ``None``: one sample, or not told."""
    process: Process | None = None
    """Looked for only where the queue is half full, something was dropped, or handshakes wait."""


@dataclass
class CloseWait:
    """Connections of a process that the peer has closed and the process has not (CLOSE_WAIT)."""

    count: int
    peers: dict[str, int] = field(default_factory=dict)
    """The 4 peers with the most of them; ``10.0.0.5:443`` where all have that port, else ``10.0.0.5``."""
    local_port: int | None = None
    """The own port where it is one for all: there the process is the server."""
    process: Process | None = None
    """``None``: not found, or not permitted to look."""
    sockets: int | None = None
    """All TCP sockets of the process in this network namespace that do not listen."""
    increase: int | None = None
    """Sockets of the process that came into CLOSE_WAIT between the samples, less all in the namespace that left it;
    ``None`` with one sample."""
    idle: list[float] = field(default_factory=list)
    """Seconds since the peer sent anything, or was sent data: least, median, most; empty where it is not told."""


@dataclass
class Target:
    """Local ports in use from one address to one address and port."""

    source: str
    target: str
    """``10.0.0.5:443``"""
    ports: int
    """Distinct ones of ``Sockets.ports``."""
    time_wait: int = 0
    """Of these, in TIME_WAIT."""


@dataclass
class Sockets:
    """TCP sockets of one network namespace."""

    source: str
    """``inet_diag`` or ``procfs``: where they were read."""
    states: dict[str, int] = field(default_factory=dict)
    """Sockets by state: ``ESTABLISHED``, ``TIME_WAIT``, ``SYN_RECV``, ``LISTEN``, ..."""
    truncated: bool = False
    """The bound was reached: the numbers are of some of the sockets."""
    keepalive: int = 0
    """Established connections whose keepalive timer runs; the others ask for no keepalives, or have data under way."""
    listeners: list[Listener] = field(default_factory=list)
    """Up to 64: first those that dropped, then those with the fullest queues."""
    half_open: dict[str, int] = field(default_factory=dict)
    """Handshakes that wait for the client's ACK, by the client's network: the 8 largest of /24 and /64."""
    close_wait: list[CloseWait] = field(default_factory=list)
    """Up to 8, most sockets first; empty below 50 sockets in CLOSE_WAIT."""
    ports: int | None = None
    """Ports that connect() may choose from: ip_local_port_range without ip_local_reserved_ports."""
    targets: list[Target] = field(default_factory=list)
    """Up to 8, most ports first, from 16 ports on."""


@dataclass
class OpenFiles:
    """File descriptors of a process."""

    process: Process
    open: int
    limit: int
    """RLIMIT_NOFILE, the soft one."""
    before: int | None = None
    """At the first sample."""


@dataclass
class Processes:
    """File descriptors of the machine, and of the processes that are nearest to their limits."""

    files: int
    """Open files of the whole kernel, fs.file-nr."""
    files_max: int
    seen: int = 0
    """Processes whose descriptors could be counted."""
    nearest: list[OpenFiles] = field(default_factory=list)
    """Up to 8, fullest first, of those with 32 descriptors or more."""


# ---- BPF --------------------------------------------------------------------------------------------------------


@dataclass
class BpfMap:
    """A map of Cilium's datapath."""

    name: str
    """Of its pin: ``cilium_ct4_global``."""
    kind: str
    """``lru_hash``"""
    max: int
    """Entries that it was made for."""
    used: int | None = None
    """Entries; ``None`` where they could not be counted."""
    apart: bool = False
    """Each CPU has a list of its own (BPF_F_NO_COMMON_LRU), and evicts from it alone."""


@dataclass
class Bpf:
    """What Cilium keeps in BPF maps and nowhere else."""

    where: str = ""
    """The directory of the pins; empty: there is no Cilium here."""
    maps: list[BpfMap] = field(default_factory=list)
    """Connection tracking and NAT."""
    policies: list[BpfMap] = field(default_factory=list)
    """Up to 3 policy maps of endpoints, fullest first."""
    totals: dict[str, int] = field(default_factory=dict)
    """Number of Cilium's reason -> packets that it dropped for it since the map was made (cilium_metrics)."""
    delta: dict[str, int] | None = None
    """Those that grew between the samples."""


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
    boot_id: str = ""
    """/proc/sys/kernel/random/boot_id and the start of process 1 in clock ticks: another one after each boot, also of
    a container, whose kernel stays."""
    booted: float = 0.0
    """Unix time, seconds, at which process 1 started; 0: not known."""
    modules: list[str] = field(default_factory=list)
    """Of those that matter here, the ones present (loaded or built in): ``nf_conntrack``, ``br_netfilter``."""
    proxmox: Proxmox | None = None
    owners: list[Owner] = field(default_factory=list)


# ---- route ------------------------------------------------------------------------------------------------------


@dataclass
class Hop:
    """One way of a route that has several."""

    device: str
    via: str = ""
    weight: int = 1
    dead: bool = False


@dataclass
class Route:
    """One route of a table other than ``local``."""

    destination: str
    """``10.0.0.0/24``; ``default``."""
    table: int = 254
    """254 is ``main``."""
    device: str = ""
    """Empty where ``hops`` has several, or the kind needs none."""
    via: str = ""
    """The next router's address."""
    kind: str = "unicast"
    """Or ``blackhole``, ``unreachable``, ``prohibit``, ``throw``."""
    family: int = 4
    source: str = ""
    """Preferred source address."""
    metric: int = 0
    mtu: int | None = None
    """Bytes; ``None``: the device's."""
    protocol: str = ""
    """What made it: ``kernel``, ``static``, ``dhcp``, ``bird``, or its number."""
    tos: int = 0
    dead: bool = False
    hops: list[Hop] = field(default_factory=list)


@dataclass
class PolicyRule:
    """One rule that chooses a table, as ``ip rule`` shows it; empty and ``None`` match everything."""

    priority: int
    family: int = 4
    action: str = "table"
    """Or ``goto``, ``nop``, ``blackhole``, ``unreachable``, ``prohibit``."""
    table: int = 0
    source: str = ""
    destination: str = ""
    iif: str = ""
    oif: str = ""
    mark: int | None = None
    mask: int = 0
    tos: int = 0
    goto: int = 0
    """Priority of the rule to go on at."""
    suppress: int | None = None
    """suppress_prefixlength: a route of this length or shorter does not count."""
    invert: bool = False
    l3mdev: bool = False
    more: bool = False
    """It matches by something that is not listed here: ports, protocol, user."""


@dataclass
class RouteTable:
    """Routes and rules of one network namespace; bounded in number."""

    routes: list[Route]
    rules: list[PolicyRule] = field(default_factory=list)
    """In the order in which they are asked; empty where the kernel has none: main, then default."""
    total: dict[str, int] = field(default_factory=dict)
    """``ipv4``, ``ipv6`` -> routes seen, kept or not."""
    truncated: list[str] = field(default_factory=list)
    """Of ``ipv4``, ``ipv6`` and ``rules``, those that are not here in full."""


# ---- neighbour --------------------------------------------------------------------------------------------------


@dataclass
class Neighbour:
    """One entry of the ARP or NDP table that has an answer."""

    address: str
    device: str
    mac: str
    """Lower case."""
    state: str
    """``REACHABLE``, ``STALE`` (not used lately), ``DELAY``, ``PROBE``, ``PERMANENT``."""


@dataclass
class NeighbourTable:
    """The neighbours of one network namespace; of large tables the routers' entries and those in use."""

    entries: list[Neighbour]
    states: dict[str, int] = field(default_factory=dict)
    """Number of entries by state, ``FAILED`` and ``INCOMPLETE`` too."""
    truncated: bool = False


# ---- resolver ---------------------------------------------------------------------------------------------------


@dataclass
class Resolver:
    """/etc/resolv.conf."""

    path: str = ""
    present: bool = True
    nameservers: list[str] = field(default_factory=list)
    search: list[str] = field(default_factory=list)
    ndots: int = 1
    """A name with at least so many dots is tried as it stands first."""
    options: list[str] = field(default_factory=list)
    """The others, as they stand: ``timeout:1``, ``rotate``."""


# ---- traces -----------------------------------------------------------------------------------------------------


@dataclass
class FileTrace:
    """A file, or a place where there was one, that decides over a knob."""

    path: str
    there: bool
    changed: float
    """Unix time: the later of mtime and ctime; of a file that is gone, the mtime of its directory."""
    owner: str = ""
    package: str = ""
    """The Debian package that has this file in its list; empty: none."""


@dataclass
class PackageEvent:
    """A line of dpkg's log."""

    time: float
    action: str
    """``install``, ``upgrade``, ``remove``, ``purge``."""
    package: str
    version: str = ""
    """The new one; of what was removed, the old one."""


@dataclass
class Login:
    """A session with a terminal."""

    time: float
    user: str
    terminal: str
    source: str = ""
    """Address or name that it came from; empty: the console."""


@dataclass
class Logged:
    """A command that sudo, su or doas wrote to the log."""

    time: float
    program: str
    text: str


@dataclass
class Mention:
    """A script, a unit, a job or a process that names a knob."""

    word: str
    file: str
    line: int = 0
    """0: a process's command line."""
    job: bool = False
    """The file is a table of cron, or a unit that has a timer."""
    process: str = ""
    """``812 sh``: it runs now."""


@dataclass
class Traces:
    """What this node remembers of who may have changed a knob: asked for hosts that drifted, with ``--traces``."""

    since: float
    files: list[FileTrace] = field(default_factory=list)
    packages: list[PackageEvent] = field(default_factory=list)
    logins: list[Login] = field(default_factory=list)
    commands: list[Logged] = field(default_factory=list)
    mentions: list[Mention] = field(default_factory=list)


# ---- ring -------------------------------------------------------------------------------------------------------


@dataclass
class RingSeries:
    """One counter over the last day, as the installed agent saw it; those that never moved are left out."""

    name: str
    """``conntrack.invalid``, ``TcpExt.ListenOverflows``; ``invalid_dropped iptables-legacy ip filter FORWARD`` (of the
    rules of a chain); ``device eth0 rx_dropped``, ``... ring``; ``conntrack.use``: percent, of each step the most."""
    points: list[float | None] = field(default_factory=list)
    """Increase in each step of ``Ring.step`` seconds; ``None``: the agent did not look then."""
    total: int = 0
    most: float = 0.0
    """Per second, between two ticks; of ``conntrack.use`` percent."""
    most_at: float = 0.0
    """Unix time of the later of the two."""
    last: float = 0.0
    """Unix time of the last tick that saw it move."""
    burst: int = 0
    """Of the largest burst: what came without a pause of more than 90 s."""
    burst_from: float = 0.0
    burst_until: float = 0.0
    bursts: int = 0
    of: int = 0
    """Of an interface, and of INVALID drops: packets that passed during the largest burst, or were routed."""


@dataclass
class SettingChange:
    """A kernel setting that was another one at the next tick."""

    until: float
    since: float
    """Unix times of the two ticks; the same where the machine was started in between."""
    name: str
    before: str
    after: str


@dataclass
class Ring:
    """What the installed agent (``hostaudit-agent.timer``) saw in the last 24 hours, in its own network namespace."""

    present: bool
    started: float = 0.0
    """Unix time at which the first step of every series begins."""
    step: int = 300
    """Seconds"""
    ticks: int = 0
    first: float = 0.0
    last: float = 0.0
    """Unix times of the first and the last tick of these 24 hours."""
    boots: list[float] = field(default_factory=list)
    """When ticks found that the machine had been started anew; up to 16."""
    series: list[RingSeries] = field(default_factory=list)
    """Up to 48, those that moved most first."""
    changes: list[SettingChange] = field(default_factory=list)
    """Up to 64."""
    events: list[KernelEvent] = field(default_factory=list)
    """What the kernel logged meanwhile, up to 32."""
    unread: dict[str, str] = field(default_factory=dict)
    """What the last tick could not read -> why."""
    damaged: int = 0
    """Lines that cannot be read: a power cut leaves one."""


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
    route: RouteTable | None = None
    neighbour: NeighbourTable | None = None
    sockets: Sockets | None = None
    device: DeviceTable | None = None


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
    route: RouteTable | None = None
    neighbour: NeighbourTable | None = None
    resolver: Resolver | None = None
    sockets: Sockets | None = None
    processes: Processes | None = None
    bpf: Bpf | None = None
    device: DeviceTable | None = None
    kmsg: KernelLog | None = None
    ring: Ring | None = None
    series: Series | None = None
    """Not a surface: there is one only where the interval is long."""
    traces: Traces | None = None
    namespaces: list[Namespace] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    schema: str = SCHEMA
