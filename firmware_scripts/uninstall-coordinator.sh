#!/bin/bash
# Takes the coordinator, and its broker, away from this machine.
#
#   uninstall-coordinator.sh [--journal delete]
#
# /var/lib/pfedfrz-coordinator stays, for root alone: journal, models, updates and the key, with which
# install-coordinator.sh goes on. Debian's own mosquitto.service is not touched.
#
# --journal delete   /var/lib/pfedfrz-coordinator too. The federation's models are nowhere else.
#
# Exit code 0, 1 failed, 2 usage.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=parts/role.sh
. "$here/parts/role.sh"
# shellcheck source=parts/service.sh
. "$here/parts/service.sh"
# shellcheck source=parts/removal.sh
. "$here/parts/removal.sh"
# shellcheck source=parts/broker.sh
. "$here/parts/broker.sh"
use_role coordinator

delete=''
while [ $# -gt 0 ]; do
    case $1 in
    --journal)
        [ "${2:-}" = delete ] || usage_error "--journal wants the word delete"
        delete=yes && shift 2
        ;;
    -h | --help) show_help && exit 0 ;;
    *) usage_error "unknown argument $1" ;;
    esac
done

require_root
hold_lock
was_here=''
if [ -e "$units/$broker_unit" ]; then
    was_here=yes
    take_down "$broker_unit"
fi
if [ -e "$broker" ]; then
    was_here=yes
    rm -rf "$broker"
fi
remove_service
remove_state journal "journal, models and key"
[ -n "$was_here" ] || say "no coordinator is installed here: nothing was changed"
