"""ansible-playbook with five tasks; pipelining, 50 forks at most, and the answers counted from its recap."""

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
    "ANSIBLE_FORKS": str(FORKS),
    "ANSIBLE_PIPELINING": "True",
    "ANSIBLE_SSH_CONTROL_PATH_DIR": f"{FLEET}/cp",
    "ANSIBLE_LOCAL_TEMP": f"{FLEET}/tmp",  # noqa: S108 - below the fleet's own folder
    "ANSIBLE_NOCOLOR": "1",
    "LC_ALL": "C.UTF-8",
}
playbook = Path(__file__).parent / "five_tasks.yml"
Path(FLEET, "ansible.cfg").write_text("")
command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", f"{FLEET}/inventory-{COUNT}.ini", str(playbook)]
done = subprocess.run(command, check=False, env=environment, stdout=subprocess.PIPE, text=True)
recap = re.findall(r"^(\S+)\s+: ok=5 .*unreachable=0 .*failed=0", done.stdout, re.MULTILINE)
write(json.dumps({"address": name}) for name in recap)
