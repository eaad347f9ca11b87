# Run a `boot` host, and boot it again when it asks for it: with a new network namespace, so that what was not saved
# is gone, as after a real reboot.
while :; do
  unshare --mount --net --propagation private sh "$SCRIPTS/boot.sh" "$1" "$2" "$3" "$4" $$ && exit 0
  rc=$?
  [ $rc = 133 ] || exit $rc
  echo reboot >>"$1/reboots"
  ip link del "lx-$3" 2>/dev/null || : # the old namespace goes later than its processes
done
