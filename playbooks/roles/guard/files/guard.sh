# The second half of the guard's program: the commands. It runs where a change is to be undone and nothing else is left
# to do it: sh, coreutils, findutils, util-linux, iproute2 and systemd are all it needs.
#
#   arm ID SECONDS TOUCH...   keep what is there now; unless confirmed within SECONDS, put it back
#   extend ID SECONDS         start the wait again
#   confirm ID KEEP           disarm; what was there goes to $BASE/changes/ID, of which KEEP are kept
#   revert ID [REASON]        put it back now
#   undo ID [check|force]     put a confirmed change back; refuses where somebody changed a thing since
#   list                      armed changes
#
# Exit status: 0 done; 1 not everything is back (systemd tries again); 2 refused; 4 was reverted, or never armed.
set -uf
umask 077
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
BASE=/var/lib/hostaudit
LOG=/var/log/hostaudit/changes.jsonl
UNITS=/etc/systemd/system

refuse() {
  printf 'guard: %s\n' "$1" >&2
  exit "${2:-2}"
}

# Call function $1 for every touch of change $2 whose kind is in list $3 (empty: all), with images $4 (and $5).
each() {
  n=0 bad=0
  while read -r kind rest <&3; do
    n=$((n + 1))
    case " ${3:-$kind} " in *" $kind "*) "$1" "$4" "$n" "$kind" "$rest" "${5:-}" || bad=1 ;; esac
  done 3<"$2/touches"
  return $bad
}

print_changed() { same "$@" || printf '%s %s\n' "$3" "$4"; }

# Print the touches of change $1 that differ between images $2 and $3.
changed() { each print_changed "$1" '' "$2" "$3"; }

# Keep the present state of what change $1 touches as images $2.
now() { rm -rf "$2" && mkdir "$2" && each capture "$1" '' "$2"; }

# Put everything of change $1 back (soft files too, unless $2 is not empty); print what is still not as it was.
restore() {
  soft=soft
  [ -z "${2:-}" ] || soft=
  each stop_new_unit "$1" unit "$1/before"
  each put_back_if "$1" "file $soft pve" "$1/before"
  while read -r d; do rmdir "$d" 2>/dev/null; done <"$1/dirs"
  ! grep -q '^unit ' "$1/touches" || systemctl daemon-reload
  each put_back_if "$1" "unit nft chain value" "$1/before"
  # a VLAN cannot be larger than its parent, and a bridge follows its ports: what failed or moved is set again
  for _ in 1 2 3; do each put_back_if "$1" link "$1/before"; done
  now "$1" "$1/check"
  changed "$1" "$1/before" "$1/check" >"$1/left"
  [ -n "$soft" ] || sed -i '/^soft /d' "$1/left"
  rm -rf "$1/check"
  cat "$1/left"
  [ ! -s "$1/left" ]
}

# Append one line to the log: $1 event, $2 change, $3 reason, $4 touches. None holds a quote or backslash, see arm.
record() {
  mkdir -p "${LOG%/*}"
  things=$(printf '%s\n' "$4" | sed '/^$/d; s/.*/"&"/' | paste -sd, -)
  printf '{"schema":"hostaudit.change/1","at":"%s","event":"%s","change":"%s","role":"guard","reason":"%s","things":[%s]}\n' \
    "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$2" "$3" "$things" >>"$LOG"
}

write_timer() {
  cat >"$UNITS/hostaudit-guard-$1.timer" <<END
[Unit]
Description=Wait for the confirmation of change $1
[Timer]
OnActiveSec=${2}s
AccuracySec=100ms
[Install]
WantedBy=timers.target
END
}

# Without a Requires: the timer is the way back, and must not depend on anything that the change may break.
write_service() {
  cat >"$UNITS/hostaudit-guard-$1.service" <<END
[Unit]
Description=Undo of change $1, which was not confirmed
After=network.target networking.service systemd-networkd.service systemd-sysctl.service systemd-modules-load.service
After=nftables.service pve-cluster.service hostaudit-mss-clamp.service
ConditionPathExists=$BASE/guard/$1/guard
StartLimitIntervalSec=0
[Service]
Type=oneshot
ExecStart=/bin/sh $BASE/guard/$1/guard revert $1 timer
Restart=on-failure
RestartSec=15s
[Install]
WantedBy=multi-user.target
END
}

disarm() {
  rm -f "$UNITS/hostaudit-guard-$1.service" "$UNITS/hostaudit-guard-$1.timer" \
    "$UNITS/multi-user.target.wants/hostaudit-guard-$1.service" "$UNITS/timers.target.wants/hostaudit-guard-$1.timer"
  systemctl -q stop "hostaudit-guard-$1.timer" 2>/dev/null
  systemctl daemon-reload
}

# Remove what an interrupted arm or an old revert left; refuse where another change is armed.
alone() {
  find "$BASE/guard" -mindepth 1 -maxdepth 1 -printf '%f\n' | while read -r name; do
    case $name in *.reverted) ;; *)
      [ ! -e "$BASE/guard/$name/guard" ] ||
        refuse "change $name is armed on this host; end it first: sh $BASE/guard/$name/guard revert $name"
      ;;
    esac
    rm -rf "$BASE/guard/$name"
  done || exit
}

arm() {
  id=$1 seconds=$2 dir=$BASE/guard/$1
  shift 2
  [ -d /run/systemd/system ] || refuse "systemd does not run this host, and nothing else would undo a change after a reboot"
  case $id in '' | .* | *.reverted | *[!A-Za-z0-9._-]*) refuse "'$id' is no name for a change: letters, digits, . _ -" ;; esac
  case $seconds in '' | 0* | *[!0-9]*) refuse "'$seconds' is no number of seconds" ;; esac
  [ ! -e "$BASE/changes/$id" ] || refuse "there was a change $id on this host already"
  alone
  mkdir -p "$dir" || refuse "cannot write below $BASE"
  for touch; do
    case $touch in *[!A-Za-z0-9_./:@,+=%~\ -]*) refuse "cannot keep '$touch': unusual characters in its name" ;; esac
    printf '%s\n' "$touch"
  done | awk '!seen[$0]++' >"$dir/touches"
  [ -s "$dir/touches" ] || refuse "nothing to guard"
  now "$dir" "$dir/before" || refuse "could not keep what is there now; nothing was changed"
  grep -E '^(file|soft) ' "$dir/touches" | while read -r _ d; do
    while d=${d%/*} && [ -n "$d" ] && [ ! -e "$d" ]; do echo "$d"; done
  done | sort -ru >"$dir/dirs"
  cat /proc/sys/kernel/random/boot_id >"$dir/boot_id"
  echo "$seconds" >"$dir/seconds"
  printf '%s\n' "$HOSTAUDIT_GUARD" >"$dir/new" && mv "$dir/new" "$dir/guard" || refuse "cannot write below $BASE"
  write_service "$id" && write_timer "$id" "$seconds" || refuse "cannot write below $UNITS"
  systemctl daemon-reload
  # Enabled, not started: after a reboot the undo runs at once. The timer counts monotonic time, whatever the clock does.
  systemctl -q enable "hostaudit-guard-$id.service" "hostaudit-guard-$id.timer" &&
    find "$dir" "$UNITS" \( -type f -o -type d \) -newermt '1 minute ago' -exec sync {} + &&
    systemctl -q start "hostaudit-guard-$id.timer" && systemctl -q is-active "hostaudit-guard-$id.timer" || {
    disarm "$id"
    rm -rf "$dir"
    refuse "systemd did not take the timer; nothing was changed"
  }
}

extend() {
  [ -e "$BASE/guard/$1/guard" ] || refuse "change $1 is not armed any more" 4
  write_timer "$1" "$2"
  echo "$2" >"$BASE/guard/$1/seconds"
  systemctl daemon-reload
  systemctl -q restart "hostaudit-guard-$1.timer"
}

revert() {
  id=$1 dir=$BASE/guard/$1 by=${2:-} reason='asked for'
  [ ! -e "$dir.reverted/guard" ] || {
    left=$(restore "$dir.reverted") || refuse "not as it was: $left" 1
    rm -rf "$dir.reverted"
    return
  }
  [ -e "$dir/guard" ] || refuse "change $id is not armed" 4
  if [ "$by" = timer ]; then
    reason="not confirmed within $(cat "$dir/seconds") s"
    [ "$(cat "$dir/boot_id")" = "$(cat /proc/sys/kernel/random/boot_id)" ] || reason='rebooted before it was confirmed'
  fi
  now "$dir" "$dir/found"
  things=$(changed "$dir" "$dir/before" "$dir/found")
  rm -rf "$dir/found"
  left=$(restore "$dir") || {
    [ -e "$dir/failed" ] || record revert-failed "$id" "$reason" "$left"
    : >"$dir/failed"
    refuse "not as it was: $left" 1
  }
  [ -z "$things" ] || record reverted "$id" "$reason" "$things"
  # Whoever made the change may still be at it: kept until confirm or revert asks, or until the next change.
  if [ "$by" = timer ]; then mv "$dir" "$dir.reverted"; else rm -rf "$dir"; fi
  disarm "$id"
  printf '%s\n' "$things" | sed '/^$/d'
}

# Names of the changes that can be undone, the newest first.
kept() { find "$BASE/changes" -mindepth 1 -maxdepth 1 -printf '%T@ %f\n' 2>/dev/null | sort -rn | sed 's/^[^ ]* //'; }

confirm() {
  id=$1 keep=$2 dir=$BASE/guard/$1
  if [ -e "$dir.reverted/guard" ]; then
    revert "$id"
    refuse "change $id was reverted before it was confirmed; $LOG says why" 4
  fi
  [ -e "$dir/guard" ] || refuse "change $id is not armed" 4
  now "$dir" "$dir/after" || refuse "could not read what the change made" 1
  things=$(changed "$dir" "$dir/before" "$dir/after")
  if [ -z "$things" ] || [ "$keep" = 0 ]; then
    rm -rf "$dir"
  else
    mkdir -p "$BASE/changes" && touch "$dir" && mv "$dir" "$BASE/changes/$id" || refuse "cannot write below $BASE" 1
    kept | tail -n "+$((keep + 1))" | while read -r old; do rm -rf "$BASE/changes/$old"; done
  fi
  disarm "$id"
  [ -z "$things" ] || record confirmed "$id" '' "$things"
  printf '%s\n' "$things" | sed '/^$/d'
}

undo() {
  id=$1 how=${2:-} dir=$BASE/changes/$1
  [ -e "$dir/guard" ] || refuse "no change $id is kept on this host; kept are: $(kept | paste -sd' ' -)"
  now "$dir" "$dir/found" || refuse "could not read what is there now" 1
  since=$(changed "$dir" "$dir/after" "$dir/found")
  things=$(changed "$dir" "$dir/before" "$dir/found")
  rm -rf "$dir/found"
  others=$(printf '%s\n' "$since" | grep '^soft ')
  since=$(printf '%s\n' "$since" | grep -v '^soft ' | paste -sd, -)
  [ -z "$since" ] || [ "$how" = force ] ||
    refuse "changed by somebody else since change $id: $since; see $LOG, undo the later change first, or force it"
  printf '%s\n' "$things" | sed '/^$/d'
  [ "$how" != check ] || return 0
  left=$(restore "$dir" "$others") || refuse "not as it was: $left" 1
  rm -rf "$dir"
  [ -z "$things" ] || record undone "$id" "$how" "$things"
}

main() {
  command=${1:-}
  case $command in
    arm | extend | confirm | revert | undo) ;;
    list)
      find "$BASE/guard" -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null
      return
      ;;
    *) refuse "usage: guard arm|extend|confirm|revert|undo ID ..., or guard list" ;;
  esac
  shift
  exec 9>/run/hostaudit-guard.lock
  flock -w 60 9 || refuse "another guard command is at work"
  mkdir -p "$BASE/guard" || refuse "cannot write below $BASE"
  "$command" "$@"
  status=$?
  rmdir "$BASE/guard" "$BASE" 2>/dev/null
  return $status
}

main "$@"
