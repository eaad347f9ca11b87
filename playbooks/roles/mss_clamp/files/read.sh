# shellcheck shell=sh
# read.sh SIGNATURE
# Prints what is there: words and values, separated by a tab.
#   tool    nft, iptables-legacy, iptables-nft   it is installed
#   legacy  NUMBER        rules of iptables-legacy
#   enabled, active       of the unit
#   nft, iptables-legacy, iptables-nft  GOOD ALL   our rules with this signature, and all rules in our table or chain
set -u
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
for tool in nft iptables-legacy iptables-nft; do
  ! command -v $tool >/dev/null || printf 'tool\t%s\n' $tool
done
# only where a table exists: listing one makes it
rules=0
if grep -q . /proc/net/ip_tables_names 2>/dev/null && command -v iptables-legacy-save >/dev/null; then
  rules=$(iptables-legacy-save | grep -cE '^-A|^:[A-Z]+ DROP')
fi
printf 'legacy\t%s\n' "$rules"
printf 'enabled\t%s\n' "$(systemctl is-enabled hostaudit-mss-clamp.service 2>/dev/null)"
printf 'active\t%s\n' "$(systemctl is-active hostaudit-mss-clamp.service)"
if table=$(nft list table inet hostaudit_mss 2>/dev/null); then
  printf 'nft\t%s %s\n' "$(printf '%s\n' "$table" | grep -c "comment \"$1\"")" "$(printf '%s\n' "$table" | grep -c maxseg)"
fi
for tool in iptables-legacy iptables-nft; do
  [ $tool = iptables-nft ] || grep -q . /proc/net/ip_tables_names 2>/dev/null || continue
  all=0 good=0
  for command in $tool "ip6${tool#ip}"; do
    chain=$($command -w 10 -t mangle -S HOSTAUDIT-MSS 2>/dev/null) || continue
    $command -w 10 -t mangle -S FORWARD | grep -q -e '-j HOSTAUDIT-MSS$' || continue
    all=$((all + $(printf '%s\n' "$chain" | grep -c '^-A')))
    good=$((good + $(printf '%s\n' "$chain" | grep -c -e "$1")))
  done
  printf '%s\t%s %s\n' $tool $good $all
done
