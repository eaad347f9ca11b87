# shellcheck shell=sh
# The second part of the guard's program: what the host does by itself, in two systemd units. The timer counts until the
# confirmation must have come; the service puts everything back then, or at the next boot, and watches for a while.

write_timer() {
  cat >"$UNITS/hostaudit-guard-$1.timer~" <<END && mv -f "$UNITS/hostaudit-guard-$1.timer~" "$UNITS/hostaudit-guard-$1.timer"
[Unit]
Description=Wait for the confirmation of change $1
[Timer]
OnActiveSec=${2}s
AccuracySec=100ms
[Install]
WantedBy=timers.target
END
}

# Without a Requires: the timer is the way back, and must not depend on anything that the change may break. Not of type
# oneshot: while it watches, it must not hold up a boot.
write_service() {
  cat >"$UNITS/hostaudit-guard-$1.service" <<END
[Unit]
Description=Undo of change $1, which was not confirmed
After=network.target networking.service systemd-networkd.service systemd-sysctl.service systemd-modules-load.service
After=nftables.service pve-cluster.service hostaudit-mss-clamp.service
ConditionPathExists=|$BASE/guard/$1/guard
ConditionPathExists=|$BASE/guard/$1.reverted/guard
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/sh -c 'd=$BASE/guard/$1; [ -e \$\$d/guard ] || d=\$\$d.reverted; exec /bin/sh \$\$d/guard expire $1'
Restart=on-failure
RestartSec=15s
[Install]
WantedBy=multi-user.target
END
}

disarm() {
  rm -f "$RUN/$1~quiet" "$UNITS/hostaudit-guard-$1.service" "$UNITS/hostaudit-guard-$1.timer" "$UNITS/hostaudit-guard-$1.timer~" \
    "$UNITS/multi-user.target.wants/hostaudit-guard-$1.service" "$UNITS/timers.target.wants/hostaudit-guard-$1.timer"
  systemctl -q stop "hostaudit-guard-$1.timer" 2>/dev/null
  [ "$COMMAND" = expire ] || systemctl -q stop "hostaudit-guard-$1.service" 2>/dev/null
  systemctl daemon-reload
  systemctl -q reset-failed "hostaudit-guard-$1.service" 2>/dev/null
  :
}

# Print when process $1 began, in ticks since boot: a number is given to another process later. See proc_pid_stat(5).
began() {
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # shellcheck disable=SC2086 # its fields
  set -- ${stat##*) }
  echo "${20}"
}

# Print the process of sshd that this program runs below, and when it began; nothing where there is none.
session() {
  pid=$$
  while stat=$(cat "/proc/$pid/stat" 2>/dev/null); do
    case $stat in *'(sshd'*')'*)
      echo "$pid $(began "$pid")"
      return
      ;;
    esac
    stat=${stat##*) ? }
    pid=${stat%% *}
  done
}

# Is whoever armed the change in $1 still connected, or a task of Ansible at work? Those words are on the command lines
# of its tasks (its plugins/action/__init__.py and plugins/become); the brackets keep grep from finding itself.
at_work() {
  # shellcheck disable=SC2015 # either of the two is enough
  read -r pid start <"$1/session" && [ "$(began "$pid")" = "$start" ] ||
    find /proc -maxdepth 2 -name cmdline -exec grep -la -e 'BECOME-SUCCES[S]-' -e '&& sleep [0]' {} + 2>/dev/null |
    grep -q .
}

# After an undo by the host itself, whoever made the change may be cut off, or dead, and its last task still be writing, or
# wait for another host before its next one. Put that back too: for LEAST seconds, and until nobody is at work and nothing
# was written for QUIET seconds; after LIMIT any cut connection has ended (net.ipv4.tcp_retries2 makes it about 15
# minutes). What was kept stays for confirm and revert. $2: seconds that it has been quiet already.
QUIET=30 LEAST=300 LIMIT=1200
watch() {
  dir=$BASE/guard/$1.reverted quiet=$2 spent=0
  rm -f "$RUN/$1~quiet" # of a watch that was killed
  while [ $spent -lt $LIMIT ] && { [ "$quiet" -lt $QUIET ] || [ $spent -lt $LEAST ]; }; do
    pause=5
    [ "$quiet" -lt $QUIET ] || pause=15
    [ $pause = 5 ] || : >"$RUN/$1~quiet" # another change may begin
    flock -u 9
    sleep $pause 9>&-
    flock 9
    [ -e "$dir/guard" ] || return 0 # somebody has asked meanwhile, and has removed the units
    spent=$((spent + pause)) quiet=$((quiet + pause))
    ! at_work "$dir" || quiet=0
    { [ -z "$(differing "$dir")" ] && written "$1"; } || {
      take_back "$1" "$dir" reverted-again "written after the undo"
      quiet=0
    }
    [ "$quiet" -ge $QUIET ] || rm -f "$RUN/$1~quiet"
  done
  disarm "$1"
}

# What the service runs.
expire() {
  dir=$BASE/guard/$1 rebooted=
  [ -e "$dir/guard" ] || dir=$dir.reverted
  [ -e "$dir/guard" ] || return 0
  [ "$(cat "$dir/boot_id")" = "$(cat /proc/sys/kernel/random/boot_id)" ] || rebooted=1
  case $dir in
    *.reverted) take_back "$1" "$dir" reverted-again "written after the undo" ;;
    *)
      # it waits again: extended while this was waiting for the lock
      [ -n "$rebooted" ] || [ -e "$RUN/$1~things" ] ||
        [ "$(systemctl show -p SubState "hostaudit-guard-$1.timer")" != SubState=waiting ] || return 0
      reason="not confirmed within $(cat "$dir/seconds") s"
      [ -z "$rebooted" ] || reason='rebooted before it was confirmed'
      take_back "$1" "$dir" reverted "$reason"
      written "$1" || refuse "cannot write $LOG" 1 # it is tried again, until somebody can read that this went back
      mv -T "$dir" "$dir.reverted" || refuse "cannot write below $BASE" 1
      ;;
  esac
  ! written "$1" || rm -f "$RUN/$1~things" # else watch tries again
  systemctl -q stop "hostaudit-guard-$1.timer"
  # a reboot has cut off whoever made the change
  watch "$1" $((${rebooted:-0} * QUIET))
}
