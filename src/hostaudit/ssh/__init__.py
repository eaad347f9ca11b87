"""Hosts over ssh: the way there (``route``), who one is (``credentials``), who they are (``hostkeys``), ``connect``."""
