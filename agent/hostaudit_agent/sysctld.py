"""What the sysctl files set at boot: sysctl.d(5) as systemd-sysctl 247, 252 and 257 apply it, and procps.

Every rule below was compared with what the three really write (Debian 11, 12 and 13, booted).

* Directories in the order /etc, /run, /usr/local/lib, /usr/lib, and /lib where that is not a link; of files with the
  same name only the first counts; names end in ``.conf`` and do not begin with a dot; then all are sorted by name,
  byte by byte, whatever their directory. A link to /dev/null, or an empty file, hides the one below it.
* The last assignment of a key wins. A key assigned by its own name is never set by a pattern, earlier or later.
  Among patterns the one that stands last wins; a pattern that is repeated with the value it has already stays where
  it was.
* ``-key`` without ``=`` takes that key out of every pattern, and undoes an earlier assignment; it is compared as it
  stands, so ``-net.ipv4.conf.lxc*.rp_filter`` excludes nothing. ``-key = value`` assigns, and only hides errors.
* The first separator decides: ``net/ipv4/conf/eth0.100/x`` and ``net.ipv4.conf.eth0/100.x`` are the same.
* /etc/sysctl.conf is not read; Debian 11 and 12 ship a link to it, 99-sysctl.conf.

procps (``sysctl --system``) differs in that it always reads /etc/sysctl.conf, last, and that names with a leading dot
count. Not modelled: there an exclusion does not undo an assignment, and before 4.0 it knew no patterns.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from hostaudit_agent.snapshot import Assignment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hostaudit_agent.root import Root

DIRECTORIES = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d")
MAIN = "etc/sysctl.conf"
LIBRARIES = ("usr/lib/systemd", "lib/systemd", "usr/lib64/systemd")
"""Where libsystemd-shared-VERSION.so lies, besides the multiarch directories of /usr/lib."""

_SWAP = str.maketrans("./", "/.")
_COMMENTED = re.compile(r"([-+]?\d+(?:\s+[-+]?\d+)*)\s+[#;]")


class Line(NamedTuple):
    """One assignment, or with ``value`` None one exclusion. ``key`` is the path below /proc/sys."""

    key: str
    value: str | None
    file: str
    number: int


class Files(NamedTuple):
    """The lines of all files in the order in which they are applied."""

    lines: list[Line]
    not_applied: dict[str, str]
    applied_by: str


def read(root: Root, unread: Callable[[str, str], None]) -> Files:
    """Read every file that counts at boot. A file that cannot be read is told to ``unread``."""
    applied_by = manager(root)
    procps = not applied_by.startswith("systemd")
    not_applied: dict[str, str] = {}
    lines: list[Line] = []
    targets: set[str] = set()
    for name in _in_order(root, not_applied, unread, hidden=procps):
        text = _text(root, name, unread)
        targets.add(os.path.realpath(root.path(name)))
        lines += parse(text, "/" + name)
    if root.exists(MAIN):
        if procps:
            lines += parse(_text(root, MAIN, unread), "/" + MAIN)
        elif os.path.realpath(root.path(MAIN)) not in targets and parse(_text(root, MAIN, unread), "/" + MAIN):
            not_applied["/" + MAIN] = f"{applied_by} does not read it, and no link in /etc/sysctl.d leads to it"
    return Files(lines, not_applied, applied_by)


def manager(root: Root) -> str:
    """Return what applies the files at boot: ``systemd 252``, ``procps``, or nothing that is known."""
    if (root.read_text("proc/1/comm") or "").strip() == "systemd" or root.exists("run/systemd/system"):
        if _leads_to_null(root, "etc/systemd/system/systemd-sysctl.service"):
            return ""
        return f"systemd {_version(root)}".rstrip()
    return "procps" if root.exists("etc/init.d/procps") or root.exists("etc/init.d/sysctl") else ""


def _version(root: Root) -> str:
    """Return systemd's version, from the name of its private library; nothing has to be run for it."""
    multiarch = [f"usr/lib/{name}/systemd" for name in root.names("usr/lib") if name.endswith("-gnu")]
    for directory in (*LIBRARIES, *multiarch):
        for name in root.names(directory):
            found = re.match(r"libsystemd-shared-(\d+)", name)
            if found:
                return found.group(1)
    return ""


def _leads_to_null(root: Root, name: str) -> bool:
    try:
        return os.readlink(root.path(name)) == "/dev/null"
    except OSError:
        return False


def _in_order(
    root: Root, not_applied: dict[str, str], unread: Callable[[str, str], None], *, hidden: bool
) -> list[str]:
    """Return the files' names in the order of application, and why the others do not count."""
    chosen: dict[str, str] = {}
    seen: set[str] = set()
    for directory in DIRECTORIES:
        real = os.path.realpath(root.path(directory))
        if real in seen:
            continue  # /lib is a link to /usr/lib
        seen.add(real)
        for name in _names(root, directory, unread):
            path = f"{directory}/{name}"
            if not name.endswith(".conf"):
                if not name.startswith((".", "README")):
                    not_applied["/" + path] = "its name does not end in .conf"
            elif name.startswith(".") and not hidden:
                not_applied["/" + path] = "its name begins with a dot"
            elif name in chosen:
                null = " (a link to /dev/null)" if _leads_to_null(root, chosen[name]) else ""
                not_applied["/" + path] = f"/{chosen[name]}{null} has the same name and stands before it"
            else:
                chosen[name] = path
    return [chosen[name] for name in sorted(chosen, key=os.fsencode) if not _leads_to_null(root, chosen[name])]


def _names(root: Root, directory: str, unread: Callable[[str, str], None]) -> list[str]:
    try:
        return root.names(directory)
    except OSError as e:
        unread("configured", f"{e.strerror}: /{directory}")
        return []


def _text(root: Root, name: str, unread: Callable[[str, str], None]) -> str:
    try:
        return root.read_text(name) or ""
    except OSError as e:
        unread("configured", f"{e.strerror}: /{name}")
        return ""


def parse(text: str, file: str) -> list[Line]:
    """Return the assignments and exclusions of one file."""
    return [Line(key, value, file, number) for number, key, value in _entries(text)]


def _entries(text: str) -> Iterator[tuple[int, str, str | None]]:
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        key, equals, value = line.partition("=")
        if not equals and not line.startswith("-"):
            continue  # "not an assignment, ignoring", says systemd
        yield number, normal(key.removeprefix("-")), _value(value) if equals else None


def normal(key: str) -> str:
    """Return a key as the path below /proc/sys; the first separator decides what a dot is."""
    key = key.strip()
    first = next((c for c in key if c in "./"), "")
    if first == ".":
        key = key.translate(_SWAP)
    return "/".join(part for part in key.split("/") if part not in {"", "."})


def _value(text: str) -> str:
    """Return the value as it will be read back: white space collapsed.

    A comment behind numbers is written too, but the kernel takes the numbers and leaves the rest.
    """
    text = " ".join(text.split())
    found = _COMMENTED.match(text)
    return found.group(1) if found else text


class Configuration:
    """Answers, for one key, which line wins at boot and which lose."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines: dict[str, list[Line]] = {}
        self._place: dict[str, int] = {}
        for number, line in enumerate(lines):
            same = self._lines.setdefault(line.key, [])
            if not same or same[-1].value != line.value:
                self._place[line.key] = number  # systemd takes the old assignment out and appends the new one
            same.append(line)
        self._globs = [(key, _pattern(key)) for key in self._lines if any(c in key for c in "*?[")]

    def of(self, *names: str) -> tuple[Assignment | None, list[Assignment]]:
        """Return the winning line and the losing ones of one variable, given all its names."""
        applied: list[str] = []
        lost: list[Line] = []
        for name in names:
            globs = [key for key, regex in self._globs if regex.fullmatch(name)]
            if name not in self._lines:
                applied += globs
            else:
                applied.append(name)
                lost += [line for key in globs for line in self._lines[key]]
        applied.sort(key=self._place.__getitem__)
        lost += [line for key in applied for line in self._lines[key][:-1]]
        final = [self._lines[key][-1] for key in applied if self._lines[key][-1].value is not None]
        if not final:
            return None, []
        return _assignment(final[-1]), [_assignment(x) for x in lost + final[:-1] if x.value is not None]


def _assignment(line: Line) -> Assignment:
    return Assignment(line.value or "", line.file, line.number)


def _pattern(key: str) -> re.Pattern[str]:
    """Return the regular expression of a glob(7) pattern; no wildcard matches a slash.

    A pattern that is none (``[z-a]``) matches only itself.
    """
    out = []
    for part in re.split(r"(\*|\?|\[[!^]?\]?[^]]*\])", key):
        if part == "*":
            out.append("[^/]*")
        elif part == "?":
            out.append("[^/]")
        elif len(part) > 2 and part[0] == "[" and part[-1] == "]":
            inside = part[1:-1].replace("\\", "\\\\").replace("[", "\\[")
            out.append("[" + ("^" + inside[1:] if inside[0] in "!^" else inside) + "]")
        else:
            out.append(re.escape(part))
    try:
        return re.compile("".join(out))
    except re.error:
        return re.compile(re.escape(key))
