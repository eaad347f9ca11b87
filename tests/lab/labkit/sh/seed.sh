# Sourced by ns.sh and boot.sh, in the host's own mount and network namespace: make the root directory of host
# $NAME at $D/root, connect it to the management bridge, and go there.
# Arguments: directory of the host, lower tree, name, address, a process in the lab's network namespace.
# Environment: LAB_DIR, BRIDGE, NET; DISK is the size of the host's own disk (tmpfs), empty for no limit.
set -e
D=$1 LOWER=$2 NAME=$3 ADDR=$4 OUTER=$5
[ -z "$DISK" ] || mount -t tmpfs -o "size=$DISK" tmpfs "$D"
mkdir -p "$D/up" "$D/work" "$D/root"
# a host keeps its hardware address over reboots, or its neighbours talk to the old one for half a minute
ip link add eth0 address "$(printf '02:77:00:00:00:%02x' "${ADDR##*.}")" type veth peer name "lx-$NAME" netns "/proc/$OUTER/ns/net"
nsenter --net="/proc/$OUTER/ns/net" ip link set "lx-$NAME" master "$BRIDGE" up
ip link set lo up
ip addr add "$ADDR/24" dev eth0
ip link set eth0 up
ip route add default via "$NET.1"
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$D/up,workdir=$D/work" "$D/root"
cd "$D/root"
echo "$NAME" >etc/hostname
install -d -m 700 root/.ssh
install -m 600 "$LAB_DIR/key.pub" root/.ssh/authorized_keys
install -m 600 "$LAB_DIR/hostkey" etc/ssh/lab_hostkey
