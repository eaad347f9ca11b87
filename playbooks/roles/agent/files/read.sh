# $1: the Python that is asked for. Prints what is there, a line each: a word, a blank, a value.
#   systemd yes|no  python VERSION  timer ENABLED ACTIVE  result RESULT  remove PATH...
# "remove" are the paths that state absent takes away: ours, and directories in which nothing else is.
units=/etc/systemd/system
here=/usr/local/lib/hostaudit
state=/var/lib/hostaudit
[ -d /run/systemd/system ] && echo systemd yes || echo systemd no
echo "python $("$1" -I -S -c 'import sys; print("%d.%d" % sys.version_info[:2] if sys.version_info >= (3, 9) else "")' 2>/dev/null)"
echo "timer $(systemctl is-enabled hostaudit-agent.timer 2>/dev/null) $(systemctl is-active hostaudit-agent.timer 2>/dev/null)"
echo "result $(systemctl show -P Result hostaudit-agent.service 2>/dev/null || systemctl show -p Result --value hostaudit-agent.service)"
there() { if [ -e "$1" ] || [ -L "$1" ]; then echo "remove $1"; fi; }
only() { # DIRECTORY NAME...: prints the directory when it holds nothing but these names
  [ -d "$1" ] || return 0
  directory=$1
  shift
  for found in $(ls -A "$directory"); do
    for ours; do [ "$found" != "$ours" ] || continue 2; done
    return 0
  done
  echo "remove $directory"
}
for unit in hostaudit-agent.timer hostaudit-agent.service; do
  there "$units/timers.target.wants/$unit"
  # the metrics are where the installed unit says
  for directory in $(sed -n 's/^ExecStart=.* --textfile \([^ ]*\).*/\1/p' "$units/$unit" 2>/dev/null); do
    there "$directory/hostaudit_agent.prom"
    there "$directory/hostaudit_agent.prom.new"
  done
  there "$units/$unit"
done
there "$here/hostaudit-agent.pyz"
there "$here/hostaudit-agent.compiled.pyz"
there "$here/hostaudit-agent.compiled.pyz.new"
only "$here" hostaudit-agent.pyz hostaudit-agent.compiled.pyz hostaudit-agent.compiled.pyz.new
there "$state/ring"
only "$state" ring
