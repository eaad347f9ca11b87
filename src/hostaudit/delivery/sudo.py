"""What sudo asks and how it refuses. Its messages are those of LC_ALL=C."""

from __future__ import annotations

from hostaudit.failures import HostError, excerpt

_REFUSALS = (
    (b"a password is required", "sudo asks for a password there; give it with -K, or allow NOPASSWD in sudoers"),
    (b"a terminal is required", "sudo asks for a password there; give it with -K, or allow NOPASSWD in sudoers"),
    (b"you must have a tty", "sudoers says requiretty; add `Defaults:USER !requiretty` for the user that logs in"),
    (b"is not in the sudoers file", "the user is not in sudoers; add it, or log in as a user who is"),
    (b"is not allowed to execute", "sudoers does not let the user run /bin/sh as that user; allow it, or leave out -b"),
    (b"may not run sudo", "sudoers does not let the user run sudo; allow it, or leave out -b"),
    (b"unknown user", "there is no such user to become; correct ansible_become_user"),
    (b"incorrect password", "sudo does not accept the password; check -K or ansible_become_password"),
    (b"no new privileges", "sudo may not raise privileges there (no_new_privs); log in as root, or leave out -b"),
    (b"effective uid is not 0", "sudo is not setuid root there; correct its mode, or log in as root"),
    (b"account validation failure", "sudo: the account is not valid there (expired?); see its auth log"),
)


class SudoPrompt:
    """Answers one password prompt, and only one: a second one means that the password is wrong."""

    def __init__(self, prompt: bytes, password: str, where: str) -> None:
        self._prompt = prompt
        self._password = password
        self._where = where
        self._answered = False

    def reply(self, stderr: bytes) -> bytes:
        """Return what to send now, after ``stderr``; empty for nothing. Raises HostError of kind ``sudo``."""
        asked = stderr.count(self._prompt)
        if asked > 1:
            raise HostError(
                "sudo", f"{self._where}: sudo does not accept the password; check -K or ansible_become_password"
            )
        if not asked or self._answered:
            return b""
        self._answered = True
        return self._password.encode() + b"\n"


def refusal(out: bytes, err: bytes, nonce: bytes, where: str) -> str:
    """Return why sudo did not run the command, empty where it did."""
    if b"\n" + nonce + b" nosudo\n" in out:
        return f"{where} has no sudo; log in as root, or install it"
    if b"\n" + nonce + b" ready\n" in out:
        return ""
    for sign, reason in _REFUSALS:
        if sign in err:
            return f"{where}: {reason}"
    at = err.rfind(b"sudo: ")
    return f"{where}: sudo refuses: {excerpt(err[at + 6 :])!r}" if at >= 0 else ""
