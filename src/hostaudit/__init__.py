"""Decides: reads hosts through the agent, names the causes of lost packets, with evidence."""

__version__ = "0.1.0"
