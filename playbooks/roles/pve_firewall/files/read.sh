# shellcheck shell=sh
# Prints what is there: words and values, separated by a tab; what may hold anything is in base64.
#   node NAME            mounted yes|no       pvesh yes|no
#   members BASE64       /etc/pve/.members    mode OCTAL          of the node's directory: 555 or 550 without quorum
#   file BASE64          host.fw, nothing where it does not exist
#   options BASE64, warnings BASE64, status NUMBER               what pvesh answered
set -u
node=$(uname -n)
node=${node%%.*}
directory=/etc/pve/nodes/$node
code() { base64 -w 0; }
printf 'node\t%s\n' "$node"
[ -e /etc/pve/.version ] && mounted=yes || mounted=no
printf 'mounted\t%s\n' "$mounted"
printf 'members\t%s\n' "$(code </etc/pve/.members 2>/dev/null)"
printf 'mode\t%s\n' "$(stat -c %a "$directory" 2>/dev/null)"
[ ! -f "$directory/host.fw" ] || printf 'file\t%s\n' "$(code <"$directory/host.fw")"
if command -v pvesh >/dev/null; then
  printf 'pvesh\tyes\n'
  said=$(mktemp)
  options=$(pvesh get "/nodes/$node/firewall/options" --output-format json 2>"$said")
  printf 'status\t%s\noptions\t%s\nwarnings\t%s\n' $? "$(printf '%s' "$options" | code)" "$(code <"$said")"
  rm -f "$said"
else
  printf 'pvesh\tno\n'
fi
