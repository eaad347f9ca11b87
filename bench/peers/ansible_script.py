"""``ansible -m script``: the fact set as one script; pipelining, 50 forks at most."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from common import COUNT, FLEET, FORKS, write

environment = {
    **os.environ,
    "ANSIBLE_CONFIG": f"{FLEET}/ansible.cfg",
    "ANSIBLE_PIPELINING": "True",
    "ANSIBLE_SSH_CONTROL_PATH_DIR": f"{FLEET}/cp",
    "ANSIBLE_LOCAL_TEMP": f"{FLEET}/tmp",  # noqa: S108 - below the fleet's own folder
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_SSH_TRANSFER_METHOD": "piped",  # the hosts have no sftp; trying it first costs more
    "LC_ALL": "C.UTF-8",
}
Path(FLEET, "ansible.cfg").write_text("")
command = [
    str(Path(sys.executable).parent / "ansible"),
    "all",
    "-i",
    f"{FLEET}/inventory-{COUNT}.ini",
    "-f",
    str(FORKS),
]
command += ["-m", "script", "-a", f"executable='/usr/bin/python3 -I -S' {FLEET}/facts.py"]
done = subprocess.run(command, check=False, env=environment, stdout=subprocess.PIPE, text=True)
write(json.dumps({"address": name}) for name in re.findall(r"^(\S+) \| CHANGED", done.stdout, re.MULTILINE))
