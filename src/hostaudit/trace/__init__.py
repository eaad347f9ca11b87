"""Where the packets of a series of connections died, told from what the sensors of all hosts heard. Pure.

``frames`` reads what the sensors sent, ``fleet`` knows the hosts' ports, ``connections`` sorts the frames, ``passages``
follows one segment through the hosts, ``verdicts`` judges each connection (``fates`` are what it can say), ``causes``
joins it with rule counters; ``document``, ``table`` and ``picture`` say it. ``design`` does without traffic.
Segments are matched by addresses, ports and sequence numbers; the clocks of different hosts are never compared.
"""
