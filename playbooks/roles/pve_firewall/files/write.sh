# shellcheck shell=sh
# write.sh NODE SHA256: host.fw becomes what stands on stdin, if it still is the file with this sum (empty: absent).
# Takes the lock that Proxmox VE's own tools take. The file system fixes owner and mode, and refuses to be told.
set -u
umask 077
file=/etc/pve/nodes/$1/host.fw lock=/etc/pve/priv/lock/firewall-host-$1 tries=0
until mkdir "$lock" 2>/dev/null; do
  touch -d @0 "$lock" 2>/dev/null # asks for an unlock, should it be stale
  tries=$((tries + 1))
  [ "$tries" -lt 10 ] || { echo "$lock is held by somebody else, or cannot be made" >&2; exit 1; }
  sleep 1
done
trap 'rmdir "$lock"' EXIT
now=$([ ! -f "$file" ] || sha256sum <"$file" | cut -d' ' -f1)
[ "$now" = "$2" ] || { echo "$file changed while it was being edited" >&2; exit 1; }
# shellcheck disable=SC2015 # whichever of the two fails
if ! { cat >"$file.tmp.$$" && mv -f "$file.tmp.$$" "$file"; }; then
  rm -f "$file.tmp.$$"
  exit 1
fi
