#!/bin/sh
# by-plan.sh PLAN TICKET: execute a plan that somebody has reviewed. The window, the canary, the verification and the
# journal are hostaudit's. Exit code 75 outside the window.
#   hostaudit plan -i inventory.ini -o plan.json     makes the plan
set -eu
cd "$(dirname "$0")"
inventory=${INVENTORY:-inventory.ini}
plan=${1:?name the plan: by-plan.sh plan.json OPS-7} ticket=${2:?and the ticket: by-plan.sh plan.json OPS-7}

hostaudit apply "$plan" -i "$inventory" --check
hostaudit apply "$plan" -i "$inventory" --reason "accept queues overflow" --ticket "$ticket"
hostaudit log
