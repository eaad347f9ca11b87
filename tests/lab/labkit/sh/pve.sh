# Sourced by boot.sh in the root directory of a `+pve` host: its packages (in dpkg's words), programs and units.
# Its file system is bound to /var/lib/pve-cluster/fs; pve-cluster.service shows it at /etc/pve, and stopping it leaves
# the empty directory that a node with a stopped pve-cluster has.
# Environment: PVE, the mount point outside; PVE_PROGRAMS, their directory; PVE_SUITE; PVE_PERIOD in seconds. It leaves an
# option for systemd-nspawn in the arguments.
case $PVE_SUITE in # the release of Proxmox VE that is made of this Debian
  bullseye) packages="pve-manager=7.4-19 pve-cluster=7.3-3 pve-firewall=4.3-5" ;;
  bookworm) packages="pve-manager=8.4.14 pve-cluster=8.1.2 pve-firewall=5.1.2 proxmox-firewall=0.7.1" ;;
  trixie) packages="pve-manager=9.1.2 pve-cluster=9.1.6 pve-firewall=6.0.4 proxmox-firewall=1.2.3" ;;
esac
mkdir -p var/lib/pve-cluster/fs etc/pve usr/libexec/proxmox usr/lib/python3/dist-packages
if ! grep -q '^Package: pve-manager$' var/lib/dpkg/status; then
  for p in $packages; do
    printf 'Package: %s\nStatus: install ok installed\nMaintainer: lab\nArchitecture: all\nVersion: %s\nDescription: lab\n\n' \
      "${p%=*}" "${p#*=}" >>var/lib/dpkg/status
  done
fi
for module in hostfw chains guests ipset rust; do
  install -m 644 "$PVE_PROGRAMS/proxmox_$module.py" usr/lib/python3/dist-packages/
done
install -m 755 "$PVE_PROGRAMS/proxmox_pvesh.py" usr/bin/pvesh
install -m 755 "$PVE_PROGRAMS/proxmox_firewall.py" usr/sbin/pve-firewall
case $packages in
  *proxmox-firewall=*) install -m 755 "$PVE_PROGRAMS/proxmox_nft.py" usr/libexec/proxmox/proxmox-firewall ;;
esac
unit() { # name, description, dependencies, lines of [Service]
  printf '[Unit]\nDescription=%s\n%s\n[Service]\n%s\n[Install]\nWantedBy=multi-user.target\n' "$2" "$3" "$4" \
    >"etc/systemd/system/$1.service"
  ln -sf "../$1.service" etc/systemd/system/multi-user.target.wants/
}
mkdir -p etc/systemd/system/multi-user.target.wants
unit pve-cluster 'The Proxmox VE cluster filesystem' '' "Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mount --bind /var/lib/pve-cluster/fs /etc/pve
ExecStop=/bin/umount -l /etc/pve"
unit pve-firewall 'Proxmox VE firewall' "Wants=pve-cluster.service
After=pve-cluster.service" "ExecStart=/usr/sbin/pve-firewall start${PVE_PERIOD:+ --period $PVE_PERIOD}
KillMode=mixed"
[ ! -e usr/libexec/proxmox/proxmox-firewall ] ||
  unit proxmox-firewall 'Proxmox nftables firewall' "Wants=pve-cluster.service
After=pve-cluster.service pve-firewall.service" "ExecStart=/usr/libexec/proxmox/proxmox-firewall start${PVE_PERIOD:+ --period $PVE_PERIOD}"
# the unit of pve-firewall sets these at each start: its rules are legacy ones, whatever the distribution prefers
for tool in iptables ip6tables; do
  for part in '' -save -restore; do
    ln -sf "/usr/sbin/$tool-legacy$part" "etc/alternatives/$tool$part"
  done
done
set -- "--bind=$PVE:/var/lib/pve-cluster/fs"
