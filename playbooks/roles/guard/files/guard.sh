# shellcheck shell=sh
# The last part of the guard's program: the commands. It runs where a change is to be undone and nothing else is left
# to do it: sh, coreutils, findutils, util-linux, iproute2 and systemd are all it needs.
#
#   arm ID SECONDS TOUCH...   keep what is there now; unless confirmed within SECONDS, put it back
#   extend ID SECONDS         start the wait again
#   confirm ID KEEP           disarm; what was there goes to $BASE/changes/ID, of which KEEP are kept
#   revert ID                 put it back now
#   undo ID [check|force]     put a confirmed change back; refuses where somebody changed a thing since. While a change
#                             ID-undo is armed, ID stays kept until that one is confirmed
#   list                      armed changes
#   expire ID                 what the service runs
#
# shellcheck disable=SC2015 # 'a && b || refuse': refuse is for the failure of either
# Exit status: 0 done; 1 not everything is back (systemd tries again); 2 refused; 4 was reverted, or never armed.
set -uf
umask 077
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
BASE=/var/lib/hostaudit
LOG=/var/log/hostaudit/changes.jsonl
UNITS=/etc/systemd/system
RUN=/run/hostaudit-guard

refuse() {
  printf 'guard: %s\n' "$1" >&2
  exit "${2:-2}"
}

# Append one line to the log: $1 event, $2 change, $3 reason, $4 touches. None holds a quote or backslash, see arm.
record() {
  mkdir -p "${LOG%/*}" || return
  [ -z "$(tail -c 1 "$LOG" 2>/dev/null)" ] || echo >>"$LOG" # half a line, from when the disk was full
  listed=$(printf '%s\n' "$4" | sed '/^$/d; s/.*/"&"/' | paste -sd, -)
  printf '{"schema":"hostaudit.change/1","at":"%s","event":"%s","change":"%s","role":"guard","reason":"%s","things":[%s]}\n' \
    "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$2" "$3" "$listed" >>"$LOG"
}

# Take a folder away so that a half of it never counts.
forget() {
  rm -f "$1/guard"
  rm -rf "$1"
}

# Put change $1 of folder $2 back, print what was not as before, and write it down as event $3 with reason $4. Where the
# log cannot be written, or not everything is back, the next try still knows what it was: see written. Exits with 1 where
# not everything is back.
take_back() {
  rm -f "$2/reserve"
  note=$RUN/$1~things
  [ -s "$note" ] || (differing "$2") >"$note"
  left=$(restore "$2") || {
    [ -e "$RUN/$1~failed" ] || record revert-failed "$1" "$4" "$left"
    : >"$RUN/$1~failed"
    refuse "not as it was: $left" 1
  }
  [ ! -s "$note" ] || {
    cat "$note"
    record "$3" "$1" "$4" "$(cat "$note")" && rm -f "$note"
  }
  rm -f "$RUN/$1~failed"
}

# All that take_back did to change $1 is in the log.
written() { [ ! -s "$RUN/$1~things" ]; }

# Remove what an interrupted arm or an old revert left; refuse where another change is under way.
alone() {
  # shellcheck disable=SC2044 # names of changes, without spaces
  for name in $(find "$BASE/guard" -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null); do
    other=$BASE/guard/$name change=${name%.reverted}
    what="is armed on this host, since $(date -r "$other/guard" +%T 2>/dev/null)"
    case $name in *.reverted)
      what="was reverted on this host a moment ago, and what made it may still be writing"
      # watched, and it has not been quiet for long
      [ -e "$UNITS/hostaudit-guard-$change.service" ] && [ ! -e "$RUN/$change~quiet" ]
      ;;
    esac && [ -e "$other/guard" ] &&
      refuse "another change, $change, $what; nothing was done. Wait for its end, or if nobody is at it any more: sh $other/guard revert $change"
    forget "$other"
    [ ! -e "$UNITS/hostaudit-guard-$change.service" ] || disarm "$change"
  done
}

# Print the folders above the files of the change in $1.
parents() {
  grep -E '^(file|soft) ' "$1/touches" | while read -r _ d; do
    while d=${d%/*} && [ -n "$d" ]; do echo "$d"; done
  done
}

# Keep in $1 what its change touches, so that it is on the disk with all that the undo needs. Fails where one step does.
keep() {
  now "$1" "$1/before" || return
  parents "$1" | while read -r d; do [ -e "$d" ] || echo "$d"; done | sort -ru >"$1/dirs" &&
    parents "$1" | while read -r d; do [ ! -d "$d" ] || stat -c '%a %u:%g %n' "$d"; done | sort -u -k 3 >"$1/modes" &&
    cat /proc/sys/kernel/random/boot_id >"$1/boot_id" && echo "$2" >"$1/seconds" && session >"$1/session" &&
    # space that the undo can have back on a disk that is full then
    head -c "$(($(du -sk "$1/before" | cut -f1) * 1024 + 65536))" /dev/urandom >"$1/reserve" &&
    printf '%s\n' "$HOSTAUDIT_GUARD" >"$1/new" && find "$1" \( -type f -o -type d \) -exec sync {} + &&
    mv "$1/new" "$1/guard" && sync "$1" "$BASE/guard" "$BASE" "${BASE%/*}"
}

arm() {
  id=$1 seconds=$2 dir=$BASE/guard/$1
  shift 2
  [ -d /run/systemd/system ] ||
    refuse "systemd does not run $(uname -n), and nothing else would undo a change after a reboot; nothing was changed. Without a guard: -e hostaudit_guard=false"
  case $id in '' | .* | *.reverted | *[!A-Za-z0-9._-]*) refuse "'$id' is no name for a change: letters, digits, . _ -" ;; esac
  case $seconds in '' | 0* | *[!0-9]*) refuse "'$seconds' is no number of seconds" ;; esac
  for touch; do
    case $touch in *[!A-Za-z0-9_./:@,+=%~\ -]*) refuse "cannot keep '$touch': unusual characters in its name" ;; esac
  done
  [ $# -gt 0 ] || refuse "nothing to guard"
  [ ! -e "$BASE/changes/$id/guard" ] || refuse "there was a change $id on this host already"
  mkdir -p "$BASE/guard" || refuse "cannot write below $BASE; nothing was changed"
  alone
  trap 'disarm "$id"; forget "$dir"' EXIT
  trap 'exit 1' HUP INT TERM
  rm -f "$RUN/$id~things" "$RUN/$id~failed" "$RUN/$id~quiet"
  rm -rf "$BASE/changes/$id" # a half of it
  mkdir "$dir" || refuse "cannot write below $BASE; nothing was changed"
  printf '%s\n' "$@" | awk '!seen[$0]++' >"$dir/touches" && keep "$dir" "$seconds" ||
    refuse "could not keep what is there now; nothing was changed"
  write_service "$id" && write_timer "$id" "$seconds" || refuse "cannot write below $UNITS; nothing was changed"
  systemctl daemon-reload
  # Enabled, not started: after a reboot the undo runs at once. The timer counts monotonic time, whatever the clock does.
  systemctl -q enable "hostaudit-guard-$id.service" "hostaudit-guard-$id.timer" &&
    find "$UNITS" \( -type d -o -name "hostaudit-guard-$id.*" -type f \) -exec sync {} + &&
    systemctl -q start "hostaudit-guard-$id.timer" && systemctl -q is-active "hostaudit-guard-$id.timer" ||
    refuse "systemd did not take the timer; nothing was changed"
  trap - EXIT HUP INT TERM
}

# Change $1 is armed, and not being put back.
armed() { [ -e "$BASE/guard/$1/guard" ] && [ ! -e "$RUN/$1~things" ]; }

extend() {
  armed "$1" || refuse "change $1 is not armed any more" 4
  [ "$2" = "$(cat "$BASE/guard/$1/seconds")" ] || {
    write_timer "$1" "$2" && echo "$2" >"$BASE/guard/$1/seconds" || refuse "cannot write below $UNITS or $BASE" 1
    systemctl daemon-reload
  }
  systemctl -q restart "hostaudit-guard-$1.timer" || refuse "systemd does not start the wait again" 1
}

revert() {
  dir=$BASE/guard/$1 event=reverted why='asked for'
  [ -e "$dir/guard" ] || dir=$dir.reverted event=reverted-again why='written after the undo'
  [ -e "$dir/guard" ] || refuse "change $1 is not armed" 4
  # whoever is still at work asks within a day; later it is somebody else who has written
  [ -n "$(find "$dir" -maxdepth 0 -name '*.reverted' -mmin +1440)" ] || take_back "$1" "$dir" "$event" "$why"
  forget "$dir" || refuse "cannot write below $BASE" 1
  disarm "$1"
  rm -f "$RUN/$1~things"
}

# Names of the changes that can be undone, the newest first.
kept() { find "$BASE/changes" -mindepth 1 -maxdepth 1 -printf '%T@ %f\n' 2>/dev/null | sort -rn | sed 's/^[^ ]* //'; }

# A confirmed undo takes away what was kept of the change that it undid.
settle() {
  [ -n "$undone" ] && [ -e "$BASE/changes/$undone/guard" ] || return 0
  forget "$BASE/changes/$undone"
  record undone "$undone" "$how" "$things"
}

confirm() {
  id=$1 keep=$2 dir=$BASE/guard/$1 to=$BASE/changes/$1 undone='' how=''
  if [ -e "$dir.reverted/guard" ]; then
    revert "$id"
    refuse "change $id was reverted before it was confirmed; $LOG says why" 4
  fi
  if [ ! -e "$dir/guard" ] && [ -e "$to/guard" ]; then # asked twice, or interrupted after the mv below
    things=$(changed "$to" "$to/before" "$to/after")
    [ ! -e "$to/undoes" ] || read -r undone how <"$to/undoes"
    settle
    disarm "$id"
    return
  fi
  armed "$id" || refuse "change $id is not armed" 4
  now "$dir" "$dir/after" || refuse "could not keep what the change made" 1
  things=$(changed "$dir" "$dir/before" "$dir/after")
  [ ! -e "$dir/undoes" ] || read -r undone how <"$dir/undoes"
  rm -f "$dir/reserve"
  if [ -z "$things" ] || [ "$keep" = 0 ]; then
    forget "$dir" || refuse "cannot write below $BASE" 1
  else
    mkdir -p "$BASE/changes" && touch "$dir" && find "$dir/after" \( -type f -o -type d \) -exec sync {} + &&
      mv -T "$dir" "$to" && sync "$BASE/guard" "$BASE/changes" "$BASE" || refuse "cannot write below $BASE" 1
    kept | tail -n "+$((keep + 1))" | while read -r old; do forget "$BASE/changes/$old"; done
  fi
  settle
  disarm "$id"
  [ -z "$things" ] || record confirmed "$id" '' "$things"
  printf '%s\n' "$things" | sed '/^$/d'
}

undo() {
  id=$1 how=${2:-} dir=$BASE/changes/$1 over=$BASE/guard/$1-undo
  [ -e "$dir/guard" ] || refuse "no change $id is kept on this host; kept are: $(kept | paste -sd' ' -)"
  # it was armed and went back, by a reboot perhaps: whoever goes on now is not guarded any more
  [ ! -e "$over.reverted/guard" ] ||
    refuse "the undo $id-undo was itself put back, see $LOG; to begin it again: sh $over.reverted/guard revert $id-undo" 4
  now "$dir" "$RUN/found" || refuse "could not read what is there now" 1
  things=$(changed "$dir" "$dir/before" "$RUN/found")
  # what is as before already is no conflict: this undo may have been interrupted
  since=$(changed "$dir" "$dir/after" "$RUN/found" | grep -Fx -e "$things")
  rm -rf "$RUN/found"
  others=$(printf '%s\n' "$since" | grep '^soft ')
  since=$(printf '%s\n' "$since" | grep -v '^soft ' | paste -sd, -)
  [ -z "$since" ] || [ "$how" = force ] ||
    refuse "changed by somebody else since change $id: $since; see $LOG, undo the later change first, or force it"
  [ "$how" != check ] || {
    printf '%s\n' "$things" | sed '/^$/d'
    return
  }
  if [ -e "$over/guard" ]; then # it counts when it is confirmed: until then it may be reverted, and wanted again
    printf '%s %s\n' "$id" "$how" >"$over/undoes" && sync "$over/undoes" "$over" || refuse "cannot write below $BASE"
  else
    alone
  fi
  left=$(restore "$dir" "$others") || refuse "not as it was: $left" 1
  printf '%s\n' "$things" | sed '/^$/d'
  [ ! -e "$over/guard" ] || return 0
  forget "$dir"
  [ -z "$things" ] || record undone "$id" "$how" "$things"
}

main() {
  COMMAND=${1:-}
  case $COMMAND in
    arm | extend | confirm | revert | undo | expire) ;;
    list)
      find "$BASE/guard" -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null
      return
      ;;
    *) refuse "usage: guard arm|extend|confirm|revert|undo ID ..., or guard list" ;;
  esac
  shift
  mkdir -p "$RUN" && true >>"$RUN.lock" || refuse "cannot write below ${RUN%/*}; nothing was changed"
  exec 9>>"$RUN.lock"
  flock -w 60 9 || refuse "another guard command is at work"
  "$COMMAND" "$@"
  status=$?
  rmdir "$BASE/guard" "$BASE" "$RUN" 2>/dev/null
  return $status
}

main "$@"
