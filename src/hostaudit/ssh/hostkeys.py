"""The check of a host's key against known_hosts, with reasons that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.failures import HostError
from hostaudit.ssh.knownhosts import Verdict, file_name, fingerprint

if TYPE_CHECKING:
    import paramiko

    from hostaudit.ssh.knownhosts import Answer, KnownHosts
    from hostaudit.ssh.route import Hop

_ALGORITHMS = {"ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256"]}
"""Signature algorithms of a key type where they are named otherwise (RFC 8332)."""


def preferred(known: KnownHosts, hop: Hop) -> list[str]:
    """Return the host key algorithms to ask for first: those of the keys that are known, as ssh does.

    Where a key that is not known is taken, it must be sure that none is known: then hashed names are all tried.
    """
    types = known.types(hop.key_name, hop.port, thorough=hop.accept_new)
    return [a for t in types for a in _ALGORITHMS.get(t, [t])]


def check(known: KnownHosts, hop: Hop, key: paramiko.PKey) -> None:
    """Return when the key may be trusted. Raises HostError of kind ``host-key``."""
    type_, blob = key.get_name(), key.asbytes()
    answer = known.check(hop.key_name, hop.port, type_, blob)
    if answer.verdict is Verdict.KNOWN:
        return
    if answer.verdict is not Verdict.REVOKED and not hop.strict and not hop.accept_new:
        return
    if answer.verdict is Verdict.UNKNOWN and hop.accept_new:
        return
    raise HostError("host-key", _reason(hop, answer, known, f"{type_} key {fingerprint(blob)}"))


def _reason(hop: Hop, answer: Answer, known: KnownHosts, shown: str) -> str:
    places = ", ".join(e.place for e in answer.entries)
    name = file_name(hop.key_name, hop.port)
    if answer.verdict is Verdict.REVOKED:
        return f"{hop.where} shows the {shown}, REVOKED in {places}; do not trust it until you know why"
    if answer.verdict is Verdict.CHANGED:
        file = answer.entries[0].place.rpartition(":")[0]
        return (
            f"THE HOST KEY OF {hop.where} HAS CHANGED: it shows the {shown}, not the key in {places}. Somebody may be "
            f"in between, or it is a new machine; once you know which, `ssh-keygen -f {file} -R '{name}'` and log in "
            f"by hand"
        )
    port = "" if hop.port == 22 else f"-p {hop.port} "
    step = (
        f"compare the fingerprint with the host's own (`ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub` there), then "
        f"`ssh-keyscan {port}{hop.address} >> {known.files[0] if known.files else '~/.ssh/known_hosts'}`"
    )
    authorities = [e.place for e in answer.entries if e.marker == "@cert-authority"]
    if authorities:
        return (
            f"{hop.where} is known only by the certificate authority of {', '.join(authorities)}, and host "
            f"certificates are not understood here; it shows the {shown}; {step}"
        )
    if answer.entries:
        types = ", ".join(f"{e.type} ({e.place})" for e in answer.entries)
        return f"{hop.where} shows the {shown}, but known_hosts has only its {types}; {step}"
    skipped = f" (lines not understood: {'; '.join(known.skipped[:3])})" if known.skipped else ""
    where = f"no {name} in {', '.join(known.files) or 'any file'}{skipped}"
    return f"the key of {hop.where} is not known: {where}; it shows the {shown}; {step}"
