# shellcheck shell=sh
# set.sh NAME MTU [NAME MTU]...
# Sets all, or none. A VLAN cannot be larger than its parent, so what fails is tried again after the others.
set -u
old=
todo=$*
while :; do
  # shellcheck disable=SC2086 # a list
  set -- $todo
  todo='' moved=''
  while [ $# -gt 1 ]; do
    line=$(ip -o link show dev "$1")
    line=${line#* mtu }
    if said=$(ip link set dev "$1" mtu "$2" 2>&1); then
      old="$1 ${line%% *} $old"
      moved=yes
    else
      todo="$todo $1 $2" why="$1: the kernel does not take an MTU of $2 ($said)"
    fi
    shift 2
  done
  [ -n "$todo" ] || exit 0
  [ -n "$moved" ] || break
done
# shellcheck disable=SC2086 # a list
set -- $old
while [ $# -gt 1 ]; do
  ip link set dev "$1" mtu "$2"
  shift 2
done
echo "$why" >&2
exit 1
