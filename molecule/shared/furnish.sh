# Makes the hosts differ as real ones do: who configures eth0, who filters. On all of them a stand-in for /etc/pve, and
# for pvesh (on standard input) except on Debian 13, where the file is written for want of it.
. /etc/os-release
name=$(hostname)
address=$(ip -o -4 addr show eth0 | awk '{ print $4 }')
gateway=$(ip -4 route show default | awk '{ print $3; exit }')
pve=/etc/pve/nodes/$name
mkdir -p "$pve" /etc/pve/priv/lock /etc/pve/firewall
echo 1 >/etc/pve/.version
echo '{"cluster": {"quorate": 1}}' >/etc/pve/.members
printf '[OPTIONS]\n# by hand\nnosmurfs: 0\n\n[RULES]\nIN ACCEPT -p tcp -dport 22\n' >"$pve/host.fw"
chmod 600 "$pve/host.fw"
sysctl -qw net.ipv4.conf.all.rp_filter=1
if [ "$VERSION_ID" != 13 ]; then
  cat >/usr/bin/pvesh
  chmod 755 /usr/bin/pvesh
fi
case $VERSION_ID in
  11)
    printf 'auto eth0\niface eth0 inet manual\n\n# the end' >>/etc/network/interfaces
    iptables-legacy -A INPUT -p tcp --dport 1 -j DROP
    ;;
  12)
    printf 'iface eth0 inet6 auto\niface eth0 inet static\n    address %s\n    mtu 1500\n' "$address" \
      >/etc/network/interfaces.d/eth0
    ;;
  13)
    cd /etc/systemd/network
    printf '[Match]\nName=eth0\n[Network]\nAddress=%s\nGateway=%s\n' "$address" "$gateway" >10-eth0.network
    systemctl -q unmask systemd-networkd
    systemctl -q start systemd-networkd
    i=0
    until grep -qs ADMIN_STATE=configured /run/systemd/netif/links/*; do
      i=$((i + 1))
      [ $i -lt 100 ]
      sleep 0.1
    done
    ;;
esac
