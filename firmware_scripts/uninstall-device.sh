#!/bin/bash
# Takes this board's device away: unit, programs, configuration and the user `pfedfrz`.
#
#   uninstall-device.sh [--personal-weights delete]
#
# /var/lib/pfedfrz stays, for root alone: personal weights, key and samples, which are nowhere else.
# install-device.sh with this device's folder goes on with them.
#
# --personal-weights delete   /var/lib/pfedfrz too. Nobody can bring personal weights back.
#
# Exit code 0, 1 failed, 2 usage.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=parts/role.sh
. "$here/parts/role.sh"
# shellcheck source=parts/service.sh
. "$here/parts/service.sh"
# shellcheck source=parts/removal.sh
. "$here/parts/removal.sh"
use_role device

delete=''
while [ $# -gt 0 ]; do
    case $1 in
    --personal-weights)
        [ "${2:-}" = delete ] || usage_error "--personal-weights wants the word delete"
        delete=yes && shift 2
        ;;
    -h | --help) show_help && exit 0 ;;
    *) usage_error "unknown argument $1" ;;
    esac
done

require_root
hold_lock
was_here=''
remove_service
remove_state personal-weights "personal weights, key and samples"
[ -n "$was_here" ] || say "no device is installed here: nothing was changed"
