"""What does not enter the journal, and what must stay readable."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostaudit.journal.redact import HIDDEN, redact, redact_text

S = "hunter2"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----"


NAMES = [
    *(
        "password",
        "Password",
        "ansible_password",
        "ansible_become_pass",
        "ansible_ssh_pass",
        "become-password",
        "passwd",
    ),
    *("passphrase", "db.password", "secret", "client_secret", "clientSecret", "stable_secret", "token", "api_token"),
    *("accessToken", "vault", "ansible_vault_id", "private_key", "privateKey", "private-key", "ssh_host_key", "apikey"),
    *("api_key", "X-Api-Key", "Authorization", "cookie", "credentials", "psk", "tcp_fastopen_key", "PGPASSWORD", "pwd"),
    *("MYSQL_PWD", "net.ipv6.conf.eth0.stable_secret"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_value_with_such_a_name_is_hidden(name):
    assert redact({name: S}) == {name: HIDDEN}
    assert S not in json.dumps(redact({"a": [{name: [S]}]})) or name.lower().endswith(("pass", "pwd"))
    assert redact_text(f"x {name}={S} y") == f"x {name}={HIDDEN} y"


@pytest.mark.parametrize(
    "value",
    [
        {"counts": {"pass": 12, "fail": 1}, "status": "pass"},
        {"net.netfilter.nf_conntrack_max": {"before": "65536", "after": "262144"}},
        {"tokenize": "x", "passes": 3, "bypass": "no", "keyboard": "de", "secretary": "x", "monkey": "x"},
        {"password": None, "token": ""},
        {"diff": "-net.ipv4.tcp_keepalive_time = 7200\n+net.ipv4.tcp_keepalive_time = 600\n"},
        {"url": "https://example.org:8006/api2/json", "cmd": ["pvesh", "set", "--log_level_in", "nolog"]},
        {"key": "nf_conntrack_max", "value": "65536"},
        ["-p", "22", "--port", "22", True, None, 1.5],
        "rc=0 ok=3 pass=12 fail=1; the token bucket: 3; see https://example.org/a:b@c",
    ],
)
def test_what_is_no_secret_stays(value):
    assert redact(value) == value


TEXTS = f"""
password: {S}
"password": "{S}"
'token' : '{S}'
PASSWORD = {S}
{{"a": "{{\\"password\\": \\"{S}\\"}}"}}
Authorization: Bearer {S}
authorization: Basic {S}
postgresql://alice:{S}@db/journal
curl -H 'X-Api-Key: {S}'
+  api_key = {S}
secret="two words {S}"
note: token: {S}
mysql --password {S} --host db
mysql --password={S}
secret="a\\"{S}"
""".strip().splitlines()


@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_in_text_is_hidden(text):
    assert S not in redact_text(f"before {text} after")
    assert redact_text(f"{text}\nnext line").endswith("\nnext line")


def test_keys_and_vaults_in_text_are_hidden_whole():
    vault = "$ANSIBLE_VAULT;1.1;AES256\n  6162636465\n  3132333435\n"
    assert redact_text(f"a\n{KEY}\nb") == f"a\n{HIDDEN}\nb"
    assert "b3Blbn" not in redact_text(KEY[:50])
    assert redact_text(f"x: !vault |\n  {vault}y: 1") == f"x: !vault |\n  {HIDDEN}\ny: 1"


def test_options_and_pairs_are_hidden():
    assert redact(["pveum", "--password", S, "--name", "x"]) == ["pveum", "--password", HIDDEN, "--name", "x"]
    assert redact({"name": "DB_PASSWORD", "value": S}) == {"name": "DB_PASSWORD", "value": HIDDEN}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["password", "token", "x"]), inner),
    max_leaves=12,
)


@given(JSON)
def test_hiding_twice_is_hiding_once(value):
    once = redact(value)
    assert redact(once) == once
    json.dumps(once)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a",
            "a.",
            "-a",
            "a:",
            "a=",
            "://",
            "://a:",
            "password",
            "password:",
            "password=",
            "token: ",
            'secret="',
            "--a ",
        ),
        *("-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "$ANSIBLE_VAULT;", "$ANSIBLE_VAULT;\n", "\\", "\n", "'", '"'),
    ],
)
def test_hostile_text_takes_linear_time(text):
    for begin in ("", "password=", 'password="', "$ANSIBLE_VAULT;\n"):
        before = time.process_time()
        redact_text(begin + text * (300_000 // len(text)))
        assert time.process_time() - before < 3
