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


class JournalError(HostauditError):
    """The journal could not be opened, read or written."""


class JournalUsageError(JournalError, UsageError):
    """The journal's URL, or an id, is wrong."""


class FleetLockedError(JournalError):
    """Another apply holds the fleet. As outside a change window, a later attempt may succeed."""

    exit_code = 75
