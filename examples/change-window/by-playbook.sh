#!/bin/sh
# by-playbook.sh TICKET: bring the servers to vars.yml inside their change window, with Ansible alone.
# Exit code 75 outside the window, so that cron or a scheduler may try again.
set -eu
cd "$(dirname "$0")"
inventory=${INVENTORY:-inventory.ini}
change=${1:?name the ticket: by-playbook.sh OPS-7}

hostaudit windows -i "$inventory" -n 1
ansible-playbook hostaudit.remediation.remediate -i "$inventory" -e @vars.yml --check --diff
ansible-playbook hostaudit.remediation.remediate -i "$inventory" -e @vars.yml -e "hostaudit_change=$change"
