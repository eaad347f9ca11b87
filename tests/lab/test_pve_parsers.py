"""host.fw as the lab's stand-ins read and write it, held against what the real code of pve-firewall 6.0.4 answered.

What Perl reads was recorded from PVE::Firewall (load_hostfw_conf, save_hostfw_conf), the signatures from its compile.
What Rust reads was taken from in the source of proxmox-ve-rs 0.10.1.
"""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "labkit"))  # as on a node, where they are modules of their own
import proxmox_chains
import proxmox_hostfw
import proxmox_rust

ON, NONE = {"nf_conntrack_allow_invalid": "1"}, dict[str, str]()
KEY = "nf_conntrack_allow_invalid"

CORPUS: dict[str, tuple[str, dict[str, str], int, Any]] = {
    # text, options that Perl reads, lines that it loses, options that Rust reads (None: it refuses the file)
    "plain": (f"[OPTIONS]\n{KEY}: 1\n", ON, 0, ON),
    "no-space": (f"[OPTIONS]\n{KEY}:1\n", ON, 0, ON),
    "tab": (f"[OPTIONS]\n{KEY}:\t1\n", ON, 0, ON),
    "indented-no-newline": (f"[OPTIONS]\n  \t{KEY}: 1", ON, 0, ON),
    "trailing-comment": (f"[OPTIONS]\n{KEY}: 1 # note\n", NONE, 1, None),
    "yes": (f"[OPTIONS]\n{KEY}: yes\n", NONE, 1, ON),
    "true": (f"[OPTIONS]\n{KEY}: true\n", NONE, 1, ON),
    "equals": (f"[OPTIONS]\n{KEY} = 1\n", NONE, 1, None),
    "space-before-colon": (f"[OPTIONS]\n{KEY} : 1\n", NONE, 1, ON),
    "upper-case": (f"[OPTIONS]\n{KEY.upper()}: 1\n", ON, 0, {KEY.upper(): "1"}),
    "twice": (f"[OPTIONS]\n{KEY}: 0\n{KEY}: 1\n", ON, 0, None),
    "crlf-file": (f"[OPTIONS]\r\n{KEY}: 1\r\n", NONE, 2, ON),
    "crlf-option": (f"[OPTIONS]\n{KEY}: 1\r\n", ON, 0, ON),
    "byte-order-mark": (f"\xef\xbb\xbf[OPTIONS]\n{KEY}: 1\n", NONE, 2, None),
    "section-comment": (f"[OPTIONS] # c\n{KEY}: 1\n", NONE, 2, None),
    "before-section": (f"{KEY}: 1\n[OPTIONS]\n", NONE, 1, None),
    "below-rules": (f"[RULES]\n{KEY}: 1\n", NONE, 0, None),
    "two": (f"[OPTIONS]\n{KEY}: 2\n", NONE, 1, None),
    "quoted": (f'[OPTIONS]\n{KEY}: "1"\n', NONE, 1, None),
    "semicolon": (f"[OPTIONS]\n; {KEY}: 1\nenable: 0\n", {"enable": "0"}, 1, {f"; {KEY}": "1", "enable": "0"}),
    "unknown": ("[OPTIONS]\nfoo: 1\n", NONE, 1, {"foo": "1"}),
    "guest-option": ("[OPTIONS]\npolicy_in: ACCEPT\n", NONE, 1, {"policy_in": "ACCEPT"}),
    "number": ("[OPTIONS]\nnf_conntrack_max: 0005\n", {"nf_conntrack_max": "5"}, 0, {"nf_conntrack_max": "0005"}),
    "level": ("[OPTIONS]\nlog_level_out: INFO\n", {"log_level_out": "info"}, 0, None),
    "empty-level": ("[OPTIONS]\nlog_level_in:\n", {"log_level_in": ""}, 0, None),
    "helpers": ("[OPTIONS]\nnf_conntrack_helpers: ftp,SIP\n", {"nf_conntrack_helpers": "ftp,sip"}, 0,
                {"nf_conntrack_helpers": "ftp,SIP"}),
    "helper-unknown": ("[OPTIONS]\nnf_conntrack_helpers: ftp,foo\n", NONE, 1, {"nf_conntrack_helpers": "ftp,foo"}),
    "helper-comma": ("[OPTIONS]\nnf_conntrack_helpers: ftp,\n", NONE, 1, {"nf_conntrack_helpers": "ftp,"}),
    "sections-again": ("[rules]\nIN ACCEPT\n[Options]\nndp: 0\n[options]\nenable: 1\n", {"ndp": "0", "enable": "1"}, 0,
                       {"ndp": "0", "enable": "1"}),
    "bad-rule": ("[RULES]\nfoo\nIN ACCEPT bad\n", NONE, 2, None),
    "aliases": ("[OPTIONS]\n[ALIASES]\n", NONE, 1, None),
    "empty": ("", NONE, 0, NONE),
}  # fmt: skip


@pytest.mark.parametrize("name", CORPUS)
def test_perl(name: str) -> None:
    text, options, lost, _ = CORPUS[name]
    found = proxmox_hostfw.parse(text)
    assert (found.options, len(found.warnings)) == (options, lost)


@pytest.mark.parametrize("name", CORPUS)
def test_rust(name: str) -> None:
    text, options = CORPUS[name][0], CORPUS[name][3]
    text = text.encode("latin-1").decode()
    if options is None:
        with pytest.raises(proxmox_rust.RefusedError):
            proxmox_rust.parse(text)
    else:
        assert proxmox_rust.parse(text) == options


def test_words_of_the_warnings() -> None:
    text = "a: 1\n[OPTIONS]\nenable: yes\n[RULES]\nfoo\nIN ACCEPT bad\n"
    assert proxmox_hostfw.parse(text, "host.fw").warnings == [
        "host.fw (line 1): skip line - no section",
        "host.fw (line 3): can't parse option 'enable: yes'",
        "host.fw (line 5): unable to parse rule: foo",
        "host.fw (line 6): unable to parse rule parameters: bad",
    ]


def test_saving_loses_comments_and_puts_rules_into_form() -> None:
    text = "# c\n[RULES]\nin SSH(ACCEPT) --source 10.0.0.0/8 -p tcp -log info # ssh\n|OUT DROP -dport 25 -p tcp\n"
    text += "[OPTIONS]\nndp: 0\n"
    saved = "[OPTIONS]\n\nndp: 0\n\n[RULES]\n\n"
    saved += "IN SSH(ACCEPT) -source 10.0.0.0/8 -p tcp -log info # ssh\n|OUT DROP -p tcp -dport 25\n\n"
    assert proxmox_hostfw.text_of(proxmox_hostfw.parse(text)) == saved
    assert not proxmox_hostfw.text_of(proxmox_hostfw.parse("# c\n"))


def test_saving_dies_of_a_rule_of_unknown_type() -> None:
    """An option below [RULES] is two words, so it parses as a rule; the API then cannot write the file at all."""
    with pytest.raises(proxmox_hostfw.CannotSaveError, match="unknown rule type 'enable:'"):
        proxmox_hostfw.text_of(proxmox_hostfw.parse("[RULES]\nenable: 1\n"))


def test_digest_is_upstreams() -> None:
    assert proxmox_hostfw.digest({}) == "da39a3ee5e6b4b0d3255bfef95601890afd80709"
    assert proxmox_hostfw.digest(ON).startswith("7e586be5")


@pytest.mark.parametrize(("now", "enabled"), [(1030, "1000"), (1061, "0")])
def test_enable_as_a_time_is_off_a_minute_later(now: float, enabled: str) -> None:
    assert proxmox_hostfw.cluster_options("[OPTIONS]\nenable: 1000\n", now)["enable"] == enabled


SIGNATURES = {
    (4, ""): {
        "PVEFW-Drop": "83WlR/a4wLbmURFqMQT3uJSgIG8",
        "PVEFW-DropBroadcast": "NyjHNAtFbkH7WGLamPpdVnxHy4w",
        "PVEFW-FORWARD": "qnNexOcGa+y+jebd4dAUqFSp5nw",
        "PVEFW-FWBR-IN": "Ijl7/xz0DD7LF91MlLCz0ybZBE0",
        "PVEFW-FWBR-OUT": "2jmj7l5rSw0yVb/vlWAYkK/YBwk",
        "PVEFW-HOST-IN": "NknvsOiEa+jO7SaQ6Id0PaeSvgc",
        "PVEFW-HOST-OUT": "slA9+eGCoAqR09eovbprlFksyFw",
        "PVEFW-INPUT": "+5iMmLaxKXynOB/+5xibfx7WhFk",
        "PVEFW-OUTPUT": "LjHoZeSSiWAG3+2ZAyL/xuEehd0",
        "PVEFW-Reject": "h3DyALVslgH5hutETfixGP08w7c",
        "PVEFW-SET-ACCEPT-MARK": "Hg/OIgIwJChBUcWU8Xnjhdd2jUY",
        "PVEFW-logflags": "MN4PH1oPZeABMuWr64RrygPfW7A",
        "PVEFW-reject": "Jlkrtle1mDdtxDeI9QaDSL++Npc",
        "PVEFW-smurflog": "2gfT1VMkfr0JL6OccRXTGXo+1qk",
        "PVEFW-smurfs": "HssVe5QCBXd5mc9kC88749+7fag",
        "PVEFW-tcpflags": "CMFojwNPqllyqD67NeI5m+bP5mo",
    },
    (6, ""): {
        "PVEFW-Drop": "Jb79Uw7z1vZglIcV7QXA5uY/nbk",
        "PVEFW-DropBroadcast": "8Krk5Nh8pDZOOc7BQAbM6PlyFSU",
        "PVEFW-FORWARD": "qnNexOcGa+y+jebd4dAUqFSp5nw",
        "PVEFW-FWBR-IN": "2jmj7l5rSw0yVb/vlWAYkK/YBwk",
        "PVEFW-FWBR-OUT": "2jmj7l5rSw0yVb/vlWAYkK/YBwk",
        "PVEFW-HOST-IN": "wZw8jpN3VGlVRzDO3nwMspTVSWc",
        "PVEFW-HOST-OUT": "br2bPbA9ZjuHOMNhV8tfLRw1mAs",
        "PVEFW-INPUT": "+5iMmLaxKXynOB/+5xibfx7WhFk",
        "PVEFW-OUTPUT": "LjHoZeSSiWAG3+2ZAyL/xuEehd0",
        "PVEFW-Reject": "aL1nrxJk/u3XmTb3Am2eaM/3yCM",
        "PVEFW-SET-ACCEPT-MARK": "Hg/OIgIwJChBUcWU8Xnjhdd2jUY",
        "PVEFW-logflags": "MN4PH1oPZeABMuWr64RrygPfW7A",
        "PVEFW-reject": "etEECUYcgUdzuuO+LDP83pu0S8Y",
        "PVEFW-tcpflags": "CMFojwNPqllyqD67NeI5m+bP5mo",
    },
    (4, "1"): {"PVEFW-FORWARD": "S5VIjgZZSHV/7FymZUd9ZNuh6AM"},
}
"""All chains of a node with `policy_in: ACCEPT`, as the comments at their ends."""


@pytest.mark.parametrize(("family", "allow"), SIGNATURES)
def test_chains_have_upstreams_signatures(family: int, allow: str) -> None:
    chains = proxmox_chains.chains(family, {KEY: allow} if allow else {}, {"policy_in": "ACCEPT"}, "127.0.0.0/8")
    expected = SIGNATURES[family, allow]
    assert allow or set(chains) == set(expected)
    assert {name: proxmox_chains.signature(name, chains[name]) for name in expected} == expected
