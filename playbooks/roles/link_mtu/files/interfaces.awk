# awk -v wanted="eth0=1400 vmbr0=9000" -f interfaces.awk FILE: the file with these MTUs, everything else as it is.
# An mtu line of the interface's first stanza (of family inet, where there is one) is replaced, else one is added.
BEGIN {
  for (n = split(wanted, pairs, " "); n > 0; n--) {
    split(pairs[n], pair, "=")
    mtu[pair[1]] = pair[2]
  }
}
# first reading: which stanza is the one, and has it an mtu line
NR == FNR {
  if ($1 == "iface") {
    stanza = FNR
    if ($2 in mtu && (!($2 in chosen) || $3 == "inet" && family[$2] != "inet")) { chosen[$2] = FNR; family[$2] = $3 }
  } else if ($1 ~ /^(auto|allow-.*|mapping|source|source-directory|no-auto-down|no-scripts|rename)$/) {
    stanza = 0
  } else if ($1 == "mtu" && stanza) {
    has[stanza] = 1
  }
  next
}
FNR == 1 { stanza = 0; for (name in chosen) at[chosen[name]] = name }
{
  if ($1 == "iface" || $1 ~ /^(auto|allow-.*|mapping|source|source-directory|no-auto-down|no-scripts|rename)$/) stanza = 0
  if (FNR in at) stanza = FNR
  if (stanza && $1 == "mtu") {
    match($0, /^[ \t]*/)
    print substr($0, 1, RLENGTH) "mtu " mtu[at[stanza]]
    next
  }
  print
  if (stanza == FNR && !has[stanza]) print "\tmtu " mtu[at[stanza]]
}
