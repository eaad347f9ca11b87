# An `ns` host: namespaces, an overlay and sshd as process 1. No init system.
. "$SCRIPTS/seed.sh"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
for n in null zero full random urandom tty; do
  : >dev/$n
  mount --bind /dev/$n dev/$n
done
mkdir dev/pts dev/shm
chmod 1777 dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/sshd run/lock
hostname "$NAME"
if [ "$LOWER" = / ]; then # this machine's own settings are not the host's
  rm -f etc/sysctl.d/* etc/modprobe.d/* etc/modules-load.d/*
fi
printf '%s\n' 'HostKey /etc/ssh/lab_hostkey' 'PidFile /run/sshd.pid' 'UsePAM no' 'UseDNS no' \
  'PermitRootLogin prohibit-password' 'PasswordAuthentication no' 'StrictModes no' \
  'MaxStartups 100' 'Subsystem sftp internal-sftp' >etc/ssh/lab_sshd_config
[ -z "$BANNER" ] || { printf '%s\n' "$BANNER" >etc/issue.net; echo 'Banner /etc/issue.net' >>etc/ssh/lab_sshd_config; }
mkdir run/old
pivot_root . run/old
umount -l run/old
rmdir run/old
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
  /usr/sbin/sshd -D -f /etc/ssh/lab_sshd_config -E /run/sshd.log
