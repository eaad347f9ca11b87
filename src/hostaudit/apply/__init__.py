"""What a change needs of the outside: Ansible in a process of its own, the guard on the hosts, probes.

batches    which hosts are changed together, the canaries first          pure
readback   whether a knob has the value that was asked for               pure
judge      whether a batch may be kept                                   pure
resume     what becomes of a host whose controller died                  pure
runner     remediate.yml and rollback.yml through ansible-runner
guard      asks hosts for the state of a change's guard, ends it, always over new connections
probes     handshakes from here, and the hosts' own way to their gateways

``hostaudit.change`` puts them together with the journal, the windows and the reading of hosts.
"""
