# $0 is the text of state.sh, $1 the scenario. Writes the next N.state and N.kept, N counting from 1.
# kept is what a change leaves on purpose: its record, the log. An undo leaves it too.
# Not in /run: a host may reboot between two looks.
directory=/var/tmp/hostaudit-molecule/$1
mkdir -p "$directory"
cd "$directory"
n=$(($(find . -name '*.state' | wc -l) + 1))
sh -ec "$0" | LC_ALL=C sort >"$n.state"
{
  find /var/lib/hostaudit -printf 'mode %m %u:%g %y %p\n' 2>/dev/null || :
  sha256sum /var/log/hostaudit/changes.jsonl 2>/dev/null || :
} | LC_ALL=C sort >"$n.kept"
