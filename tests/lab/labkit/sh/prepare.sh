set -e
R=$1
systemctl --root=$R enable ssh.service >/dev/null 2>&1
systemctl --root=$R mask console-getty.service getty.target e2scrub_reap.service \
  apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer \
  systemd-networkd.service systemd-timesyncd.service >/dev/null 2>&1
rm -f $R/etc/ssh/ssh_host_* $R/etc/resolv.conf
: >$R/etc/machine-id
printf 'HostKey /etc/ssh/lab_hostkey\nUseDNS no\nMaxStartups 100\nPermitRootLogin prohibit-password\n' >$R/etc/ssh/sshd_config.d/lab.conf
install -d -m 700 $R/root/.ssh
