"""The small fact set that every peer fetches: settings of netfilter, rp_filter, MTUs, statistics. Runs on the host."""

import json
import os
import sys
from glob import glob

FILES = ("/proc/sys/net/netfilter/*", "/proc/sys/net/ipv4/conf/*/rp_filter", "/sys/class/net/*/mtu")
STATISTICS = "/proc/net/stat/nf_conntrack"


def read(path: str) -> str:
    try:
        with open(path) as file:  # noqa: PTH123 - pathlib would be most of what this costs
            return file.read().strip()
    except OSError as error:
        return "!" + type(error).__name__


paths = [path for pattern in FILES for path in glob(pattern)]  # noqa: PTH207 - as above
facts = {"address": os.environ.get("SSH_CONNECTION", "? ? ? ?").split()[2]}
json.dump({**facts, **{path: read(path) for path in [*paths, STATISTICS]}}, sys.stdout)
