"""The command line of the lab."""

import argparse
import os
import sys
from pathlib import Path

from labkit import hosts, inventory, trees, vm_image, world
from labkit.settings import LAB, LabError, need_root

EPILOG = """\
  lab.py build bookworm bullseye trixie         root trees, once; about 20 s and 200 MB each
  lab.py build vm-bookworm                      a virtual machine's disk; about 70 s and 800 MB
  lab.py run -H ns:bookworm:20 -- pytest DIR    twenty SSH hosts for one command
  lab.py run -H pve1=boot:trixie -- bash        a host with systemd, and a shell beside it
  lab.py outage                                 the outage, and a shell to look at it (what `make lab` does)
  lab.py forty -- sh -c 'hostaudit run -i $LAB_DIR/forty.ini'      forty hosts, nine of them in trouble
  lab.py up web1 boot:bookworm; lab.py down web1      without a world: for tools that start and stop hosts

The command that `run` starts sees LAB_DIR, which holds inventory.ini, inventory.json, ssh_config, key and
known_hosts, and LAB_SSH_CONFIG. When it ends, or is killed, the hosts and everything of theirs are gone.
"""


def parse_hosts(wanted: list[str]) -> dict[str, hosts.Spec]:
    """Return the hosts for ``[NAME=]KIND:SUITE[:COUNT]`` options; names are made up where none is given."""
    specs: dict[str, hosts.Spec] = {}
    for text in wanted:
        name, _, what = text.rpartition("=")
        kind, _, rest = what.partition(":")
        suite, _, count = rest.partition(":")
        if count and not count.isdigit():
            raise LabError(f"-H {text}: {count} is not a number of hosts")
        stem = name or f"{kind[0]}{suite}"
        many = range(1, int(count or 1) + 1)
        names = [name] if name and not count else [f"{stem}{i}" for i in many]
        if twice := specs.keys() & set(names):
            raise LabError(f"-H {text}: there is a host named {min(twice)} already; give a NAME= or a COUNT")
        specs.update(dict.fromkeys(names, hosts.Spec(f"{kind}:{suite}", groups=(suite,))))
    return specs


def arguments() -> argparse.ArgumentParser:
    """Return the parser; its help is the manual."""
    top = argparse.ArgumentParser(
        prog="lab.py",
        description="Real SSH hosts on one machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub = top.add_subparsers(dest="do", required=True, metavar="COMMAND")
    build = sub.add_parser("build", help="make the root trees")
    build.add_argument("suite", nargs="+", choices=(*trees.SUITES, *vm_image.IMAGES))
    run = sub.add_parser("run", help="run a command in a private world with hosts")
    spec = "[NAME=]KIND:SUITE[:COUNT]"
    run.add_argument("-H", "--host", action="append", default=[], metavar=spec, help="KIND is ns, boot or vm")
    run.add_argument("command", nargs="+", metavar="CMD")
    outage = sub.add_parser("outage", help="start the outage and a shell (or CMD) to look at it")
    outage.add_argument("--mode", choices=("bridge", "route"), default="bridge", help="what the hypervisors do")
    outage.add_argument("--backend", choices=("iptables-legacy", "iptables-nft", "nftables"), default="iptables-legacy")
    outage.add_argument("command", nargs="*", metavar="CMD", default=[os.environ.get("SHELL", "/bin/bash")])
    forty = sub.add_parser("forty", help="start forty hosts, nine of them in trouble, and a shell (or CMD)")
    forty.add_argument("command", nargs="*", metavar="CMD", default=[os.environ.get("SHELL", "/bin/bash")])
    up = sub.add_parser("up", help="start one host where you are")
    up.add_argument("name")
    up.add_argument("spec", metavar="KIND:SUITE")
    down = sub.add_parser("down", help="stop one host")
    down.add_argument("name")
    for verb, what in (("drop", "drop INVALID packets on a hypervisor of the outage"), ("allow", "let them pass")):
        sub.add_parser(verb, help=what).add_argument("name", choices=("h1", "h2"))
    return top


def show_outage(mode: str, backend: str, command: list[str]) -> int:
    """Start the outage, explain it, run the command in it."""
    from labkit import guide, outage

    with outage.running(mode, backend) as net:
        for hypervisor in outage.HYPERVISORS:
            net.drop(hypervisor)
        (LAB / "backend").write_text(backend)
        print(guide.text(net))
        return world.supervise(command)


def set_rule(verb: str, hypervisor: str) -> None:
    """Switch the INVALID drop of a running outage."""
    from labkit.firewall import BACKENDS

    if hypervisor not in inventory.load():
        raise LabError("no outage is running here; start one with: lab.py outage")
    backend = BACKENDS[(LAB / "backend").read_text()]()
    (backend.drop if verb == "drop" else backend.allow)(hypervisor)


def in_world(options: argparse.Namespace) -> int:
    """Do what ``run`` and ``outage`` are for, inside the world."""
    world.furnish()
    os.environ["PATH"] = f"{Path(__file__).parents[3]}/.venv/bin:{os.environ['PATH']}"  # hostaudit of this checkout
    if options.do == "forty":
        from labkit.fleet import forty

        with forty() as source:
            print(f"Forty hosts are up. Try: hostaudit run -i {source}", file=sys.stderr)
            return world.supervise(options.command)
    if options.do == "outage":
        return show_outage(options.mode, options.backend, options.command)
    with hosts.up(parse_hosts(options.host)):
        return world.supervise(options.command)


def act(options: argparse.Namespace) -> int:
    """Carry out the command line."""
    need_root()
    if options.do == "build":
        for suite in options.suite:
            image = suite in vm_image.IMAGES
            print(vm_image.build(suite.removeprefix("vm-")) if image else trees.build(suite))
    elif options.do in ("run", "outage", "forty"):
        if world.is_first():
            return in_world(options)
        for suite in {"outage": ["bookworm"], "forty": trees.SUITES}.get(options.do, []):
            trees.build(suite)  # before the world, which has no way to a mirror
        return world.enter()
    elif options.do in ("drop", "allow"):
        set_rule(options.do, options.name)
    elif options.do == "up":
        hosts.setup()
        hosts.start(options.name, hosts.Spec(options.spec))
        hosts.ready(options.name)
        print((LAB / "inventory.ini").read_text())
    else:
        hosts.setup()
        hosts.stop(options.name)
        if not inventory.load():
            hosts.teardown()
    return 0


def main() -> int:
    """Return the exit status: the command's own for ``run`` and ``outage``, 2 when the lab cannot do it."""
    try:
        return act(arguments().parse_args())
    except LabError as e:
        print(f"lab: {e}", file=sys.stderr)
        return 2
