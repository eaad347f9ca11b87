# vm-prepare.sh DIR: turn the Debian root DIR/root into DIR/disk.raw, vmlinuz and initrd.img. A machine cannot be
# changed from outside before it boots, so the lab's keys and the way to its network are part of the image.
set -eu
D=$1 R=$1/root
install -m 600 "$CACHE/key.pub" "$R/root/.ssh/authorized_keys"
install -m 600 "$CACHE/hostkey" "$R/etc/ssh/lab_hostkey"
systemctl --root="$R" mask systemd-pstore.service keyboard-setup.service console-setup.service >/dev/null 2>&1
# one CPU second of emulation each, and none of it is looked at
systemctl --root="$R" mask systemd-random-seed.service apt-daily.service man-db.timer logrotate.timer \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service ldconfig.service >/dev/null 2>&1 || :
# netplan.io brings networkd's friends along; as everywhere in the lab, a test that wants them starts them
systemctl --root="$R" mask systemd-networkd-wait-online.service systemd-networkd.socket systemd-resolved.service \
  networkd-dispatcher.service >/dev/null 2>&1 || :
echo '/dev/vda / ext4 defaults,noatime 0 1' >"$R/etc/fstab"
printf '%s\n' 'auto lo' 'iface lo inet loopback' 'auto eth0' 'iface eth0 inet manual' \
  '    up /usr/local/sbin/lab-net' '' 'source /etc/network/interfaces.d/*' >"$R/etc/network/interfaces"
install -m 755 "$SCRIPTS/vm-net.sh" "$R/usr/local/sbin/lab-net"
install -m 755 "$SCRIPTS/vm-door.py" "$R/usr/local/sbin/lab-door"
printf '%s\n' '[Unit]' 'DefaultDependencies=no' 'After=local-fs.target systemd-udevd.service' \
  'Conflicts=shutdown.target' '[Service]' 'ExecStart=/usr/local/sbin/lab-door' 'Restart=always' 'RestartSec=1' \
  '[Install]' 'WantedBy=multi-user.target' >"$R/etc/systemd/system/lab-door.service"
systemctl --root="$R" enable lab-door.service >/dev/null 2>&1
printf '%s\n' virtio_pci virtio_blk ext4 virtio_net >"$R/etc/initramfs-tools/modules"
# on bookworm xz would cost seconds of emulation at every boot
sed -i 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=gzip/' "$R/etc/initramfs-tools/initramfs.conf"
unshare --mount sh -c "mount -t proc proc $R/proc; chroot $R update-initramfs -u >/dev/null 2>&1"
rm -rf "$R"/var/lib/apt/lists/* "$R"/var/cache/apt/*
mv "$R"/boot/vmlinuz-* "$D/vmlinuz"
mv "$R"/boot/initrd.img-* "$D/initrd.img"
mke2fs -q -t ext4 -d "$R" "$D/disk.raw" "$SIZE"
rm -rf "$R"
