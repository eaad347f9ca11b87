"""Reads the kernel's packet filter and its connection tracking table, without iptables, nft or conntrack.

``iptables``, ``nftables``
    what is there at all; the way in. The rest is imported only where there is something to read.
``xtables``, ``iptrules``
    legacy tables through getsockopt, and what their rules mean.
``nftread``, ``nftexpr``, ``nftrun``, ``nftrules``
    nf_tables through netlink: reading, expressions, running them, and what the rules mean; native rules as well as
    those that iptables-nft made. ``nftwords`` and ``nfttext`` show them.
``paths``, ``ipttoobig``, ``nfttoobig``, ``nftpacket``
    what becomes of the messages of path MTU discovery.
``xtmatch``
    matches and targets that both share. ``chains``: jumps between chains.
``census``
    the connection tracking table, counted by kind. ``talkers``: who fills it.
"""
