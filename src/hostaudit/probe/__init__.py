"""Probes: ask the network from here or from hosts, and put the answers together. Packets go to named addresses only."""
