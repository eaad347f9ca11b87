# A `boot` host: the tree booted by its own systemd under systemd-nspawn. Exits 133 when the host asks for a reboot.
. "$SCRIPTS/seed.sh"
# a control group of its own, or all hosts' systemds would manage the same tree
for h in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
  [ -e $h/cgroup.procs ] || continue
  mkdir -p "$h/$LAB_ID-$NAME"
  echo $$ >"$h/$LAB_ID-$NAME/cgroup.procs"
done
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn # nothing stays behind in the machine's own /run
# nspawn hides /sys/module from a host that may write /proc/sys/net: show it, read-only
cat >usr/local/sbin/lab-init <<'END'
#!/bin/sh -e
mount -o remount,rw /sys
mkdir -p /sys/module /run/lab-sys
mount -t sysfs sysfs /run/lab-sys
mount --bind /run/lab-sys/module /sys/module
mount -o remount,bind,ro /sys/module
umount /run/lab-sys
rmdir /run/lab-sys
mount -o remount,ro /sys
END
chmod 755 usr/local/sbin/lab-init
printf '%s\n' '[Unit]' 'DefaultDependencies=no' 'Before=systemd-sysctl.service' '[Service]' 'Type=oneshot' \
  'ExecStart=/usr/local/sbin/lab-init' 'RemainAfterExit=yes' >etc/systemd/system/lab-init.service
mkdir -p etc/systemd/system/sysinit.target.wants
ln -sf ../lab-init.service etc/systemd/system/sysinit.target.wants/
[ -z "${PVE:-}" ] && set -- || . "$SCRIPTS/pve.sh"
cd /
# without this variable /proc/sys/net is read-only and systemd-sysctl is skipped in silence
SYSTEMD_NSPAWN_API_VFS_WRITABLE=network exec systemd-nspawn --quiet --register=no --keep-unit \
  --directory="$D/root" --machine="$NAME" --network-namespace-path=/proc/self/ns/net \
  --capability=CAP_NET_ADMIN --resolv-conf=off --timezone=off --link-journal=no --console=read-only "$@" --boot
