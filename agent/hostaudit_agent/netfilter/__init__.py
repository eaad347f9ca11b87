"""Reads the kernel's packet filter and its connection tracking table, without iptables, nft or conntrack.

``xtables``, ``iptables``
    legacy tables through getsockopt, and what their rules mean.
``nftread``, ``nftexpr``, ``nftrun``, ``nftables``
    nf_tables through netlink: reading, expressions, running them, and what the rules mean; native rules as well as
    those that iptables-nft made. ``nftwords`` and ``nfttext`` show them.
``xtmatch``
    matches and targets that both share. ``chains``: jumps between chains.
``census``
    the connection tracking table, counted by kind.
"""
