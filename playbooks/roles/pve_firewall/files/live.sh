# shellcheck shell=sh
# live.sh allow|drop SECONDS: waits until the rules treat INVALID packets like this; then, or when the time is over, it
# prints what they do, and succeeds if that is what was asked for:
#   v4, v6         PVEFW-FORWARD of pve-firewall, which writes legacy rules: drop, allow, or none without the chain
#   inet, guests   the two chains of proxmox-firewall (nftables mode): likewise
# A firewall that is switched off in cluster.fw has no rules to wait for.
set -u
enabled() { sed -n 's/^[ \t]*enable:[ \t]*\([0-9]*\)[ \t]*$/\1/Ip' /etc/pve/firewall/cluster.fw 2>/dev/null | tail -n 1; }
legacy() {
  saved=$("$1-legacy-save" -t filter 2>/dev/null) || saved=
  case $saved in
    *'-A PVEFW-FORWARD -m conntrack --ctstate INVALID -j DROP'*) echo drop ;;
    *:PVEFW-FORWARD*) echo allow ;;
    *) echo none ;;
  esac
}
chain() {
  if ! listed=$(nft list chain "$@" invalid-conntrack 2>/dev/null); then
    echo none
  elif printf '%s\n' "$listed" | grep -qw drop; then
    echo drop
  else
    echo allow
  fi
}
look() {
  v4=$(legacy iptables) v6=$(legacy ip6tables)
  inet=$(chain inet proxmox-firewall) guests=$(chain bridge proxmox-firewall-guests)
  case $1:$v4$v6:$inet:$guests in
    allow:*drop*) return 1 ;;
    allow:nonenone:none:none) return 1 ;;
    allow:* | drop:dropdrop:* | drop:*:drop:*) ;;
    # nftables mode with `enable: 0`: proxmox-firewall keeps no table of the host's, and drops nothing
    drop:*:none:allow) grep -qix '[[:blank:]]*enable:[[:blank:]]*0[[:blank:]]*' /etc/pve/local/host.fw || return 1 ;;
    *) return 1 ;;
  esac
}
waited=0 status=0
until look "$1"; do
  case $(enabled) in '' | 0) break ;; esac
  [ "$waited" -lt "$2" ] || {
    status=1
    break
  }
  waited=$((waited + 1))
  sleep 1
done
printf 'v4 %s, v6 %s, inet %s, guests %s\n' "$v4" "$v6" "$inet" "$guests"
exit $status
