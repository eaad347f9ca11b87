# shellcheck shell=sh
# read.sh LINK...
# Prints what is there, one thing a line, fields separated by tabs:
#   pending FILE                        changes to the network that wait to be applied
#   link    NAME MTU                    of every interface; nothing for one that does not exist
#   follows NAME OTHER                  OTHER is on top of NAME (its VLAN, its bridge): its MTU may move along
#   owner   NAME KIND FILE DETAIL       ifupdown, ifupdown2: DETAIL is FAMILY METHOD; networkd; netplan: its section; NetworkManager
#   shared  NAME OTHER                  the same .network file configures OTHER
set -u
export LC_ALL=C
[ ! -e /etc/network/interfaces.new ] || printf 'pending\t/etc/network/interfaces.new\n'

ip -o link | awk '{ name = $2; sub(/:$/, "", name); parent = ""
  if (split(name, part, "@") == 2) { name = part[1]; parent = part[2] }
  for (i = 3; i < NF; i++) { if ($i == "mtu") mtu = $(i + 1); if ($i == "master") print "follows\t" name "\t" $(i + 1) }
  print "link\t" name "\t" mtu
  if (parent !~ /^(NONE|if[0-9]+)?$/) print "follows\t" parent "\t" name }'

# Every file that ifupdown reads, in order.
interfaces() {
  [ -f "$1" ] || return
  printf '%s\n' "$1"
  awk '$1 == "source" || $1 == "source-directory" { print $1, $2 }' "$1" | while read -r word pattern; do
    case $pattern in /*) ;; *) pattern=/etc/network/$pattern ;; esac
    for file in $pattern; do
      if [ "$word" = source-directory ] || [ -d "$file" ]; then
        find "$file/" -maxdepth 1 -type f -regex '.*/[a-zA-Z0-9_-]+' | sort | while read -r one; do interfaces "$one"; done
      else
        interfaces "$file"
      fi
    done
  done
}
tool=ifupdown
[ ! -d /usr/share/ifupdown2 ] || tool=ifupdown2

for link; do
  interfaces /etc/network/interfaces | while read -r file; do
    awk -v link="$link" -v tool=$tool '$1 == "iface" && $2 == link {
      print "owner\t" link "\t" tool "\t" FILENAME "\t" ($3 == "" ? "-" : $3) " " ($4 == "" ? "-" : $4) }' "$file"
  done
  index=$(ip -o link show dev "$link" 2>/dev/null) || continue
  index=${index%%:*}
  if grep -qsE '^ADMIN_STATE=(configured|configuring|degraded|pending)' "/run/systemd/netif/links/$index"; then
    file=$(sed -n 's/^NETWORK_FILE=//p' "/run/systemd/netif/links/$index")
    kind=networkd
    case $file in */run/systemd/network/*-netplan-*) kind=netplan ;; esac
    section=-
    if [ $kind = netplan ]; then
      for one in ethernets bonds bridges vlans; do
        case $(netplan get "$one.$link" 2>/dev/null) in '' | null) ;; *) section=$one ;; esac
      done
    fi
    if [ -n "$file" ]; then
      printf 'owner\t%s\t%s\t%s\t%s\n' "$link" "$kind" "$file" "$section"
      grep -lsxF "NETWORK_FILE=$file" /run/systemd/netif/links/* | while read -r other; do
        [ "${other##*/}" = "$index" ] || ip -o link | awk -F': ' -v i="${other##*/}" -v link="$link" '$1 == i {
          sub(/@.*/, "", $2); print "shared\t" link "\t" $2 }'
      done
    fi
  fi
  if grep -qs '^managed=.*true\|^managed=[1-9]' "/run/NetworkManager/devices/$index"; then
    printf 'owner\t%s\tNetworkManager\t-\t-\n' "$link"
  fi
done
