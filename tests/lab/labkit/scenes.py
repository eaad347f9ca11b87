"""What is behind one host of the lab, in namespaces of its own: scripts that run inside it, past its sshd.

In each of them a server of ``labkit.asking`` answers.
"""

from labkit.asking import PROGRAMS, answers

# client, 10.7.0.2 -- host -- server, 10.6.0.2; the two are wired to each other as well, and use it for nothing yet.
ROUTER = (
    PROGRAMS
    + """\
for n in client server; do ip netns add $n; ip -n $n link set lo up; done
ip link add lan type veth peer name eth0 netns client
ip link add wan type veth peer name eth0 netns server
ip -n client link add eth1 type veth peer name eth1 netns server
ip addr add 10.7.0.1/24 dev lan; ip link set lan up
ip addr add 10.6.0.1/24 dev wan; ip link set wan up
ip -n client addr add 10.7.0.2/24 dev eth0; ip -n client link set eth0 up; ip -n client route add default via 10.7.0.1
ip -n server addr add 10.6.0.2/24 dev eth0; ip -n server link set eth0 up; ip -n server route add default via 10.6.0.1
for n in client server; do ip -n $n link set eth1 up; done
ip -n client addr add 10.5.0.2/24 dev eth1
ip -n server addr add 10.5.0.3/24 dev eth1
sysctl -qw net.ipv4.ip_forward=1
"""
    + answers("10.6.0.2", "server")
)
# Requests go the short way, so that the host sees replies only, as in a DSR network: a SYN-ACK without its SYN.
SPLIT = ROUTER + "ip -n client route add 10.6.0.2/32 via 10.5.0.3 src 10.7.0.2\n"
# host, 10.8.0.1 == VXLAN == far, 10.8.0.2; fragments do not get into far, as behind many a firewall and load balancer.
TUNNEL = (
    PROGRAMS
    + """\
ip netns add far
ip link add d0 type veth peer name d0 netns far
ip addr add 10.9.0.1/24 dev d0; ip link set d0 up
ip -n far addr add 10.9.0.2/24 dev d0; ip -n far link set d0 up
ip link add vx0 type vxlan id 5 local 10.9.0.1 remote 10.9.0.2 dstport 4789 dev d0
ip -n far link add vx0 type vxlan id 5 local 10.9.0.2 remote 10.9.0.1 dstport 4789 dev d0
ip addr add 10.8.0.1/24 dev vx0; ip link set vx0 up
ip -n far addr add 10.8.0.2/24 dev vx0; ip -n far link set vx0 up
ip netns exec far nft 'table ip f { chain i { type filter hook prerouting priority -450; }; }'
ip netns exec far nft 'add rule ip f i iifname d0 ip frag-off & 0x3fff != 0 drop'
"""
    + answers("10.8.0.2", "far")
)
# Two guests on a bridge without an address of its own, as on a hypervisor, with large frames. Its MTU is set by hand:
# else the bridge follows its smallest port.
SWITCH = (
    PROGRAMS
    + """\
ip link add br0 type bridge
ip link set br0 mtu 9000 up
for n in 1 2; do
  ip netns add g$n
  ip link add p$n type veth peer name eth0 netns g$n
  ip link set p$n mtu 9000 master br0 up
  ip -n g$n addr add 10.4.0.$n/24 dev eth0
  ip -n g$n link set eth0 mtu 9000 up
done
"""
    + answers("10.4.0.2", "g2")
)
# A bridge CNI with two pods, and kube-proxy with a service whose backend is the second one.
PODS = (
    PROGRAMS
    + """\
ip link add cni0 type bridge
ip addr add 10.244.1.1/24 dev cni0
ip link set cni0 up
for n in 7 8; do
  ip netns add pod$n
  ip link add veth$n type veth peer name eth0 netns pod$n
  ip link set veth$n master cni0 up
  ip -n pod$n addr add 10.244.1.$n/24 dev eth0
  ip -n pod$n link set eth0 up
  ip -n pod$n route add default via 10.244.1.1
done
sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
iptables-nft -t nat -N KUBE-SERVICES
iptables-nft -t nat -A PREROUTING -j KUBE-SERVICES
iptables-nft -t nat -A KUBE-SERVICES -d 10.96.0.10 -p udp --dport 80 -j DNAT --to-destination 10.244.1.8:80
cp /bin/sleep /usr/local/bin/kube-proxy
setsid kube-proxy infinity </dev/null >/dev/null 2>&1 &
"""
    + answers("10.244.1.8", "pod8")
)
