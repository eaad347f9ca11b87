# Prints what a host is like, a line each: files with their sums, modes and owners, kernel values, links, rules.
sed 's/^/boot /' /proc/sys/kernel/random/boot_id
find /etc /usr/local -type f -exec sha256sum {} + | sed 's/^/sum /'
find /etc /usr/local -printf 'mode %m %u:%g %y %l %p\n'
find /proc/sys/net -type f ! -name 'nf_conntrack_count' ! -name '*_key' -exec grep -H '' {} + 2>/dev/null || :
ip -o link | sed 's/^[0-9]*: /link /; s/ state .*//; s/@if[0-9]*//'
nft list ruleset | sed 's/^/nft /'
for tool in iptables-legacy ip6tables-legacy; do
  $tool -t mangle -S | sed "s/^/$tool /"
done
