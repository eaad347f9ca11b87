"""A lab of real SSH hosts on one machine, without a container engine.

Needs root and Debian packages only; the standard library is all the Python it uses. See README.md one level up.

settings   where things are, and the errors people see
trees      the Debian root trees that hosts are made of
inventory  which hosts run: inventory.json, inventory.ini, known_hosts, ssh_config
hosts      start, wait for, enter and stop hosts
world      the private world (namespaces) that takes everything with it when it ends
firewall   the packet filters of the outage, per backend
outage     the outage itself: two hypervisors, two workers, one address, replies on another path
cli        the command line
"""
