from __future__ import annotations

import base64
import hashlib
import hmac
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from hostaudit.ssh.knownhosts import KnownHosts, Verdict, fingerprint

if TYPE_CHECKING:
    from pathlib import Path

A, B = b"\0\0\0\x0bssh-ed25519AAAA", b"\0\0\0\x0bssh-ed25519BBBB"
KEY_A, KEY_B = base64.b64encode(A).decode(), base64.b64encode(B).decode()


def known(tmp_path: Path, text: str) -> KnownHosts:
    file = tmp_path / "known_hosts"
    file.write_text(text)
    return KnownHosts([str(file), str(tmp_path / "absent")])


def verdict(hosts: KnownHosts, host: str, port: int = 22, blob: bytes = A, type_: str = "ssh-ed25519") -> str:
    return hosts.check(host, port, type_, blob).verdict.value


def test_names_addresses_and_ports(tmp_path: Path) -> None:
    hosts = known(tmp_path, f"web1,10.0.0.1 ssh-ed25519 {KEY_A} a comment\n\n# no\n[web2]:2222 ssh-ed25519 {KEY_A}\n")
    assert [verdict(hosts, h) for h in ("web1", "WEB1", "10.0.0.1", "web2", "web3")] == [
        *(["known"] * 3),
        *(["unknown"] * 2),
    ]
    assert verdict(hosts, "web2", 2222) == "known"
    assert verdict(hosts, "web1", 2222) == "known"  # as ssh does: the bare name holds where no port is named


def test_another_key_of_the_type_is_a_change_and_names_the_line(tmp_path: Path) -> None:
    hosts = known(tmp_path, f"# one\nweb1 ssh-ed25519 {KEY_A}\n")
    answer = hosts.check("web1", 22, "ssh-ed25519", B)
    assert answer.verdict is Verdict.CHANGED
    assert answer.entries[0].place == f"{tmp_path}/known_hosts:2"
    assert verdict(hosts, "web1", blob=B, type_="ssh-rsa") == "unknown"
    assert hosts.types("web1", 22) == ["ssh-ed25519"]


def test_a_changed_key_of_a_port_is_not_excused_by_the_bare_name(tmp_path: Path) -> None:
    hosts = known(tmp_path, f"[web1]:2222 ssh-ed25519 {KEY_A}\nweb1 ssh-ed25519 {KEY_B}\n")
    assert verdict(hosts, "web1", 2222, B) == "changed"


def test_several_keys_of_one_type_are_all_good(tmp_path: Path) -> None:
    hosts = known(tmp_path, f"web1 ssh-ed25519 {KEY_A}\nweb1 ssh-ed25519 {KEY_B}\n")
    assert verdict(hosts, "web1", blob=A) == verdict(hosts, "web1", blob=B) == "known"


def test_patterns_and_negation(tmp_path: Path) -> None:
    hosts = known(tmp_path, f"*.example.com,!bad.example.com,plain ssh-ed25519 {KEY_A}\n[*]:22?? ssh-ed25519 {KEY_B}\n")
    assert verdict(hosts, "a.example.com") == "known"
    assert verdict(hosts, "plain") == "known"
    assert verdict(hosts, "bad.example.com") == "unknown"
    assert verdict(hosts, "x", 2201, B) == "known"
    assert verdict(hosts, "x", 2301, B) == "unknown"


def test_revoked_beats_known(tmp_path: Path) -> None:
    hosts = known(tmp_path, f"web1 ssh-ed25519 {KEY_A}\n@revoked * ssh-ed25519 {KEY_A}\n")
    assert verdict(hosts, "web1") == "revoked"
    assert verdict(hosts, "web1", blob=B) == "changed"


def test_an_authority_s_key_is_not_a_host_s_key(tmp_path: Path) -> None:
    hosts = known(tmp_path, f"@cert-authority *.x ssh-ed25519 {KEY_A}\n")
    answer = hosts.check("web.x", 22, "ssh-ed25519", A)
    assert answer.verdict is Verdict.UNKNOWN
    assert answer.entries[0].marker == "@cert-authority"
    assert hosts.types("web.x", 22) == []


def test_names_that_ssh_keygen_hashed(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"web1 ssh-ed25519 {KEY_A}\n[web2]:2222 ssh-ed25519 {KEY_A}\n")
    key = tmp_path / "k"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = key.with_name("k.pub").read_text().split()
    file.write_text(f"web1 {public[0]} {public[1]}\n[web2]:2222 {public[0]} {public[1]}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    assert "web1" not in file.read_text()
    blob = base64.b64decode(public[1])
    hosts = KnownHosts([str(file)])
    assert verdict(hosts, "web1", blob=blob) == "known"
    assert verdict(hosts, "web2", 2222, blob) == "known"
    assert verdict(hosts, "web3", blob=blob) == "unknown"
    shown = subprocess.run(["ssh-keygen", "-lf", key], check=True, capture_output=True, text=True).stdout.split()[1]
    assert fingerprint(blob) == shown


@pytest.mark.parametrize(
    "line", ["web1", "web1 ssh-rsa", "web1 ssh-rsa !!!", "@what web1 ssh-rsa AAAA", "|1|x ssh-rsa AAAA"]
)
def test_lines_that_make_no_sense_are_told_with_their_place(tmp_path: Path, line: str) -> None:
    hosts = known(tmp_path, f"{line}\nweb2 ssh-ed25519 {KEY_A}\n")
    assert [s.startswith(f"{tmp_path}/known_hosts:1: ") for s in hosts.skipped] == [True]
    assert verdict(hosts, "web2") == "known"


def test_a_lookup_does_not_scan_the_file(tmp_path: Path, work: Any) -> None:
    hosts = known(tmp_path, "".join(f"10.0.{n >> 8}.{n & 255} ssh-ed25519 {KEY_A}\n" for n in range(5000)))
    with work.counted():
        hosts.lookup("10.0.19.1")
    assert work.calls < 50


def hashed(name: str, blob: bytes, type_: str = "ssh-ed25519", marker: str = "") -> str:
    salt = hashlib.sha256(name.encode()).digest()[:20]
    digest = hmac.digest(salt, name.encode(), "sha1")
    words = (f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}", type_)
    return f"{marker} {' '.join(words)} {base64.b64encode(blob).decode()}\n".lstrip()


def key(number: int) -> bytes:
    return A + number.to_bytes(4, "big")


def test_hashed_names_are_not_searched_for_a_key_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = known(tmp_path, "".join(hashed(f"10.0.{n >> 8}.{n & 255}", key(n)) for n in range(3000)))
    tried, digest = [], hmac.digest
    monkeypatch.setattr(hmac, "digest", lambda *words: tried.append(1) or digest(*words))
    for n in range(3000):
        assert hosts.types(f"10.0.{n >> 8}.{n & 255}", 22) == ["ssh-ed25519"]
        assert verdict(hosts, f"10.0.{n >> 8}.{n & 255}", blob=key(n)) == "known"
    assert len(tried) == 3000  # a search for each would be nine millions


def test_hashed_names_of_machines_that_share_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = known(tmp_path, "".join(hashed(f"10.0.{n >> 8}.{n & 255}", A) for n in range(1000)))
    tried, digest = [], hmac.digest
    monkeypatch.setattr(hmac, "digest", lambda *words: tried.append(1) or digest(*words))
    for n in range(1000):
        assert verdict(hosts, f"10.0.{n >> 8}.{n & 255}") == "known"
    assert len(tried) == 1000
    assert verdict(hosts, "10.9.9.9") == "unknown"


def test_a_hashed_host_is_as_strict_as_a_plain_one(tmp_path: Path) -> None:
    text = hashed("web1", A) + hashed("web2", B) + hashed("web3", A, "ssh-rsa") + hashed("web4", B, marker="@revoked")
    hosts = known(tmp_path, text + hashed("web5", B, marker="@cert-authority"))
    assert verdict(hosts, "web1", blob=B) == "changed"
    assert verdict(hosts, "web2", blob=A) == "changed"
    assert verdict(hosts, "web2", blob=B) == "known"
    assert verdict(hosts, "web3", blob=B) == "unknown"
    assert verdict(hosts, "web4", blob=B) == "revoked"
    assert verdict(hosts, "web5", blob=B) == "unknown"
    assert verdict(hosts, "web9", blob=A) == "unknown"


def test_the_types_of_a_hashed_host_are_known_once_it_was_searched_for(tmp_path: Path) -> None:
    hosts = known(tmp_path, hashed("web1", A, "ssh-rsa") + hashed("web2", A) + hashed("web3", B))
    assert hosts.types("web1", 22) == ["ssh-ed25519", "ssh-rsa"]  # it may be any of them
    assert hosts.types("web1", 22, thorough=True) == ["ssh-rsa"]
    assert hosts.types("web1", 22) == ["ssh-rsa"]
    assert hosts.types("web3", 22, thorough=True) == ["ssh-ed25519"]


def test_many_threads_find_their_hashed_names(tmp_path: Path) -> None:
    names = [f"10.0.{n >> 8}.{n & 255}" for n in range(2000)]
    hosts = known(tmp_path, "".join(hashed(name, A) for name in names))
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda name: verdict(hosts, name), names)) == {"known"}
