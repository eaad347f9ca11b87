"""Where a name has several addresses, all of them work.

What it reads
    Handshakes of ``hostaudit run --probe`` with every A and AAAA record of the targets that the inventory declares by
    name. The names are resolved on the controller.

Why it matters
    Clients take one of the addresses, most take the first and some try the next one only after many seconds. With one
    of three dead, a third of the requests is slow or fails, and a test that is repeated meets another address.

Active when
    From one vantage point no handshake with one of the addresses works, and handshakes with another one do.

How it is remedied
    What is wrong with that address; until then it is taken out of the name. An address of another family (AAAA beside
    A) is often forgotten when a service moves.

Fix safety
    Taking a record out takes effect when its time to live is over; clients that hold a connection keep it.

References
    https://www.rfc-editor.org/rfc/rfc6724
    https://www.rfc-editor.org/rfc/rfc8305
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit.checks import _probe, _say, fleet_check
from hostaudit.model import Severity
from hostaudit.probed import Verdict, by_target, partial_names

if TYPE_CHECKING:
    from hostaudit.checks import Fleet
    from hostaudit.model import Finding


@fleet_check(reads=("probes",), severity=Severity.HIGH)
def evaluate(fleet: Fleet) -> list[Finding]:
    """Compare the addresses of each name."""
    several = {
        target: members
        for target, members in by_target(_probe.services(fleet)).items()
        if len({one.address for one in members}) > 1 or not members[0].address  # or nobody knows how many there are
    }
    partial = partial_names([one for members in several.values() for one in members])
    findings = []
    for target, members in several.items():
        vantages = [one.vantage for one in members]
        addresses = sorted({one.address for one in members})
        dead = sorted({one.address for one in members if one.verdict is Verdict.DOWN})
        if not any(one.judged for one in members):
            why = next((f": {one.error}" for one in members if one.error), "")
            findings.append(_probe.not_known(f"no address of {target} could be tried{why}", vantages))
        elif target not in partial:
            findings.append(_probe.fine(f"the addresses of {_probe.short(target)} behave alike", vantages))
        else:
            findings.append(
                _probe.failed(
                    fleet,
                    (one.vantage for one in members if one.verdict is Verdict.DOWN),
                    f"{len(dead)} of {len(addresses)} addresses of {_probe.short(target)} do not answer",
                    evidence={"dead": dead, "addresses": {one.address: one.verdict.value for one in members}},
                    reproduce=(
                        f"for a in {' '.join(_say.quote(a) for a in addresses)}; do "
                        f"nc -z -w 3 $a {members[0].port} && echo $a ok || echo $a FAIL; done"
                    ),
                    disproof="Each address prints ok.",
                    advice=f"Find what is wrong with {', '.join(dead)}; until then, take it out of the name.",
                    cause="one of a name's addresses does not work",
                )
            )
    return findings
