# shellcheck shell=sh
# read.sh DROPIN NUMBER FILE... PATH...
# Prints what is there, one thing a line, fields separated by tabs:
#   file    FILE MODE:UID:GID|absent    text    FILE LINE        (the first NUMBER of the arguments after it)
#   value   PATH ok|readonly|absent|unreadable VALUE             (white space collapsed)
#   module  NAME present|absent
#   later   FILE:LINE KEY               assigns the key after DROPIN, so it wins at boot (sysctl.d(5))
#   owner   NAME                        runs here, and writes some keys again
#   legacy  FILE:LINE KEY VALUE         `sysctl --system` applies it last, boot does not
set -u
export LC_ALL=C
dropin=${1##*/} number=$2
shift 2
while [ "$number" -gt 0 ]; do
  if [ -f "$1" ]; then
    printf 'file\t%s\t%s\n' "$1" "$(stat -c '%a:%u:%g' "$1")"
    awk -v file="$1" '{ print "text\t" file "\t" $0 }' "$1"
  else
    printf 'file\t%s\tabsent\n' "$1"
  fi
  number=$((number - 1))
  shift
done
for path; do
  state=ok value=
  if [ ! -e "$path" ]; then
    state=absent
  elif ! value=$(cat "$path" 2>/dev/null); then
    state=unreadable
  elif [ ! -w "$path" ]; then # true to the mode for root too: /proc/sys ignores CAP_DAC_OVERRIDE
    state="readonly"
  fi
  printf 'value\t%s\t%s\t' "$path" "$state"
  set -f
  # shellcheck disable=SC2086 # split on purpose
  echo $value
  set +f
done
for module in nf_conntrack br_netfilter; do
  [ -d "/sys/module/$module" ] && state=present || state=absent
  printf 'module\t%s\t%s\n' "$module" "$state"
done
for name in kube-proxy pve-firewall; do
  grep -qx "$name" /proc/[0-9]*/comm 2>/dev/null || continue
  # pve-firewall runs on every Proxmox VE; it writes when the cluster's firewall is on
  [ "$name" = kube-proxy ] || grep -qiE '^[[:space:]]*enable:[[:space:]]*[1-9]' /etc/pve/firewall/cluster.fw 2>/dev/null || continue
  printf 'owner\t%s\n' "$name"
done

assignments() { # $1 word to print, $2 file; the keys are paths below /proc/sys on stdin
  awk -v word="$1" -v file="$2" '
    function path(key) {
      if (match(key, /[.\/]/) && substr(key, RSTART, 1) == ".") {
        gsub(/\//, "\n", key); gsub(/\./, "/", key); gsub(/\n/, ".", key)
      }
      return key
    }
    FILENAME == "-" { wanted[$0] = 1; next }
    {
      line = $0
      sub(/^[ \t]+/, "", line)
      if (line ~ /^[#;]/ || line !~ /=/ && line !~ /^-/) next
      key = line; sub(/=.*/, "", key); sub(/^-/, "", key); gsub(/^[ \t]+|[ \t]+$/, "", key)
      value = line; if (!sub(/^[^=]*=/, "", value)) value = "(left out)"
      gsub(/[ \t]+/, " ", value); gsub(/^ | $/, "", value)
      if (path(key) in wanted) print word "\t" file ":" FNR "\t" path(key) "\t" value
    }' - "$2"
}
keys() { for path; do echo "${path#/proc/sys/}"; done; }
directories='/etc/sysctl.d /run/sysctl.d /usr/local/lib/sysctl.d /usr/lib/sysctl.d /lib/sysctl.d'
for directory in $directories; do
  [ ! -d "$directory" ] || find "$directory/" -maxdepth 1 -name '[!.]*.conf' -printf '%f\n'
done | sort -u | while IFS= read -r name; do
  { [ "$name" != "$dropin" ] && [ "$(printf '%s\n' "$name" "$dropin" | sort | head -n 1)" = "$dropin" ]; } || continue
  for directory in $directories; do
    if [ -e "$directory/$name" ]; then
      keys "$@" | assignments later "$directory/$name"
      break
    fi
  done
done
[ ! -f /etc/sysctl.conf ] || keys "$@" | assignments legacy /etc/sysctl.conf
