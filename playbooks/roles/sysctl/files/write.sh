# shellcheck shell=sh
# write.sh PATH VALUE [PATH VALUE]...
# Writes all values, or none: when one is refused, or the kernel made something else of it, what was there is written
# back. `sysctl -w` is not used: depending on its version it exits 0 after a refusal.
set -uf
n=0 # values written so far
# shellcheck disable=SC2086 # splits on purpose
words() { echo $1; }
back() {
  while [ "$n" -gt 0 ]; do
    eval "printf '%s\n' \"\$old_$n\" >\"\$path_$n\""
    n=$((n - 1))
  done
  exit 1
}
while [ $# -gt 1 ]; do
  # shellcheck disable=SC2034 # for eval
  old=$(cat "$1") || back
  n=$((n + 1))
  eval "path_$n=\$1 old_$n=\$old"
  said=$({ printf '%s\n' "$2" >"$1"; } 2>&1) || {
    echo "$1: the kernel does not take '$2' (${said##*: }); nothing was changed" >&2
    back
  }
  now=$(cat "$1")
  if [ "$(words "$now")" != "$(words "$2")" ]; then
    echo "$1: the kernel made '$(words "$now")' of '$2'; nothing was changed" >&2
    back
  fi
  shift 2
done
