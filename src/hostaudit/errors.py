"""What the program says when the person in front of it has to do something."""


class HostauditError(Exception):
    """A clear message: the thing, the place and the next step. ``exit_code`` is what the command returns."""

    exit_code = 1


class UsageError(HostauditError):
    """Bad options, policy or inventory."""

    exit_code = 2


class InventoryError(UsageError):
    """The inventory could not be read, or names no host."""


class PolicyError(UsageError):
    """The policy file is wrong; the message names file and key."""
