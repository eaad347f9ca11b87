"""Run the guard's program on a host, past sshd and Ansible, and see what it did."""

import time
from collections.abc import Sequence

from labkit import hosts

from roles.play import BOOKS, log

FILES = BOOKS / "roles/guard/files"
CONF, VALUE, NEW = "/etc/sysctl.d/zz-guarded.conf", "/proc/sys/net/core/somaxconn", "/etc/guarded.d/deep/new.conf"
TOUCHES = (f"file {CONF}", f"value {VALUE}", f"file {NEW}", "nft inet guarded")
CHANGE = f"""
printf 'net.core.somaxconn = 5000\\n' >{CONF}; chmod 600 {CONF}
mkdir -p {NEW.rpartition("/")[0]}; chmod 750 /etc/guarded.d; echo new >{NEW}
echo 5000 >{VALUE}
nft 'delete table inet guarded; table inet guarded {{ chain c {{ counter drop; }}; }}'
"""
LOOK = f"""
cat {VALUE}; stat -c '%n %a %U %Y' {CONF} {NEW} 2>&1 || :; find /etc/guarded.d -type d -printf '%p %m %u\n' 2>&1 || :
cat {CONF} {NEW} 2>&1 || :; nft list table inet guarded 2>&1 || :; ls -A /etc/sysctl.d
"""
LEFT = """
find /var/lib/hostaudit/guard /run/hostaudit-guard -mindepth 1 2>/dev/null || :
find /etc/systemd/system -name '*hostaudit-guard*'
systemctl list-units --all --plain --no-legend 'hostaudit-guard*' | grep -v not-found || :
"""


def program() -> str:
    """Return what the role sends along with every call; it watches for 40 s instead of 5 minutes."""
    text = "\n".join((FILES / name).read_text() for name in ("things.sh", "units.sh", "guard.sh"))
    assert text.count("LEAST=300") == 1
    return text.replace("LEAST=300", "LEAST=40")


def furnish(names: Sequence[str]) -> None:
    """Put the program, and what it is to guard, on the hosts."""
    for name in names:
        hosts.run(name, "sh", "-c", "cat >/root/guard", input=program())
        settle(name)


def settle(name: str) -> None:
    """Make a host as it was before any change, whatever a test has left on it."""
    hosts.script(
        name,
        "systemctl stop 'hostaudit-guard*' 2>/dev/null || :\n"
        "find /etc/systemd/system -name '*hostaudit-guard*' -delete; systemctl daemon-reload\n"
        "rm -rf /var/lib/hostaudit /var/log/hostaudit /run/hostaudit-guard /etc/guarded.d\n"
        f"printf 'net.core.somaxconn = 4096\\n' >{CONF}; chmod 644 {CONF}; touch -d @1000000000 {CONF}\n"
        f"echo 4096 >{VALUE}\n"
        "nft 'table inet guarded; delete table inet guarded; table inet guarded { chain c { counter accept; }; }'\n",
    )


def guard(name: str, *words: object) -> tuple[int, str]:
    """Call the program; return its exit status, and all that it said."""
    line = 'HOSTAUDIT_GUARD=$(cat /root/guard) sh /root/guard "$@" 2>&1; echo "exit $?"'
    said, _, code = hosts.run(name, "sh", "-c", line, "guard", *words).rpartition("exit ")
    return int(code), said


def done(name: str, *words: object) -> str:
    """Call the program, which must succeed; return what it said."""
    code, said = guard(name, *words)
    assert code == 0, said
    return said


def arm(name: str, change: str = "c", seconds: int = 600) -> None:
    done(name, "arm", change, seconds, *TOUCHES)


def change(name: str) -> None:
    hosts.script(name, CHANGE)


def confirmed(name: str, change_: str = "c") -> tuple[str, str]:
    """Change and confirm; return what the host was, and what it is."""
    settle(name)
    before = look(name)
    arm(name, change_)
    change(name)
    done(name, "confirm", change_, 20)
    return before, look(name)


def struck(name: str, delay: float, *words: str) -> None:
    """Call the program and kill it, as a crash or the kernel's lack of memory would."""
    hosts.script(
        name,
        "HOSTAUDIT_GUARD=$(cat /root/guard); export HOSTAUDIT_GUARD\n"
        f"sh /root/guard {' '.join(words)} >/dev/null 2>&1 & p=$!\n"
        f"sleep {delay}; kill -9 $p 2>/dev/null || :; wait || :",
    )


def look(name: str) -> str:
    """Return what the touches are, to the byte."""
    return hosts.script(name, LOOK)


def left(name: str) -> list[str]:
    """Return what there still is of guards."""
    return hosts.script(name, LEFT).splitlines()


def events(name: str) -> list[tuple[str, str]]:
    return [(e["event"], e["change"]) for e in log(name)]


def until(name: str, wanted: str, limit: float = 60) -> None:
    """Wait until the host is as wanted."""
    end = time.monotonic() + limit
    while look(name) != wanted:
        assert time.monotonic() < end, f"{name} is\n{look(name)}\nand not\n{wanted}"
        time.sleep(0.3)


def until_quiet(name: str, change_: str, limit: float = 120) -> None:
    """Wait until nobody has written for a while after the host went back by itself."""
    marker = f"ls /run/hostaudit-guard/{change_}~quiet 2>/dev/null || :"
    hosts.wait(lambda: hosts.script(name, marker) != "", limit, f"{name} is not quiet")
