# $0 is the scenario. Compares the last five looks: before check mode (1), before the change (2), before check mode
# again (3), before the change again (4), and after the undo (5).
exec 2>&1
cd "/var/tmp/hostaudit-molecule/$0"
last=$(find . -name '*.state' | wc -l)
bad=0
# Two boots with a page more or less of free memory compute other limits (net/ipv4/tcp.c, tcp_init; net/ipv4/udp.c).
steady() { if rebooted; then grep -v '^boot \|/net/ipv4/\(tcp_[rw]\?mem\|udp_mem\):' "$1" || :; else cat "$1"; fi; }
rebooted() { [ "$(grep -h '^boot ' ./*.state | sort -u | wc -l)" -gt 1 ]; }
compare() { # the same WORDS ONE OTHER KIND...
  words=$1 one=$((last - 5 + $2)) other=$((last - 5 + $3))
  shift 3
  for kind; do
    steady "$one.$kind" >one
    steady "$other.$kind" >other
    cmp -s one other || {
      echo "$words:"
      diff -U 0 one other | tail -n +4 | cut -c 1-200 | head -n 40
      bad=1
    }
  done
}
compare 'check mode changed' 1 2 state kept
compare 'check mode after the change changed' 3 4 state kept
compare 'the undo did not bring back' 1 5 state
steady "$((last - 3)).state" >one
steady "$((last - 2)).state" >other
! cmp -s one other || { echo 'the change changed nothing'; bad=1; }
if grep -q /var/lib/hostaudit/guard "$((last - 2)).kept"; then
  echo 'a confirmed change left its guard armed'
  bad=1
fi
exit $bad
