# One device of every kind that Debian's kernel has and that carries, splits or joins packets. eth1 and eth2 are wired to
# each other; tunnels go out by eth1.
set -e
modprobe fou
ip link set eth1 up
ip link set eth2 up
ip addr add 10.88.0.1/24 dev eth1
ip -6 addr add fd88::1/64 dev eth1 nodad
ip link add link eth1 name eth1.100 type vlan id 100
ip link add link eth1 name svlan type vlan proto 802.1ad id 200
ip link add link svlan name inner type vlan id 7
ip link add br0 type bridge vlan_filtering 1
ip link add br1 type bridge
ip link set eth2 master br0
ip link add bond0 type bond mode active-backup
ip link add d0 type dummy
ip link add d1 type dummy
ip link set d0 master bond0
ip link set d1 master bond0
ip link set bond0 up
ip link add link bond0 name bond0.5 type vlan id 5
ip link set bond0.5 master br1
ip link add wg0 type wireguard
ip addr add 10.89.0.1/24 dev wg0
ip link set wg0 up
ip link add gnv type geneve id 42 remote 10.88.0.2 dstport 6081
ip link add gnv6 type geneve id 43 remote fd88::2
ip link add gnvx type geneve external dstport 6082
ip link add vx type vxlan id 77 remote 10.88.0.2 local 10.88.0.1 dev eth1 dstport 4789
ip link add vx6 type vxlan id 78 remote fd88::2 local fd88::1 dev eth1 dstport 4789
ip link add vxm type vxlan id 79 group 239.1.1.1 dev eth1 dstport 4790
ip link add vxx type vxlan external dstport 4791
ip link add vxg type vxlan external gpe dstport 4792
ip link add ipip1 type ipip remote 10.88.0.2 local 10.88.0.1
ip link add ipip2 type ipip remote 10.88.0.3 local 10.88.0.1 encap fou encap-sport auto encap-dport 5555
ip link add sit1 type sit remote 10.88.0.2 local 10.88.0.1
ip link add gre1 type gre remote 10.88.0.2 local 10.88.0.1
ip link add gre2 type gre remote 10.88.0.3 local 10.88.0.1 key 5 csum seq
ip link add tap1 type gretap remote 10.88.0.2 local 10.88.0.1 key 6
ip link add ip6t type ip6tnl remote fd88::2 local fd88::1
ip link add ip6n type ip6tnl remote fd88::3 local fd88::1 encaplimit none
ip link add g6 type ip6gre remote fd88::2 local fd88::1
ip link add g6t type ip6gretap remote fd88::3 local fd88::1
ip link add link eth1 name mv type macvlan mode bridge
ip link add d2 type dummy
ip link add link d2 name ipv type ipvlan mode l2
ip link add va type veth peer name vb
ip link add vrf1 type vrf table 10
ip link set va master vrf1
ip link add ifb9 type ifb
ip link add link bond0 name msec type macsec
tc qdisc add dev va root netem delay 10ms
udevadm settle # it gives devices the addresses that they keep
