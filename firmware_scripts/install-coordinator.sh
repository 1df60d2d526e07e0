#!/bin/bash
# Installs a federation's coordinator, and its broker, on this machine.
#
#   install-coordinator.sh FOLDER [--wheel FILE] [--python PYTHON] [--adopt-bundle]
#
# FOLDER is what `pfedfrz provision` made, with `coordinator/` and `broker/` in it; `authority/`,
# `devices/` and `monitor/` are not looked at and need not be there. Without `broker/` only the
# coordinator is installed. The broker is Debian's Mosquitto under a unit of its own:
#
#   pfedfrz provision FOLDER ... --broker-user mosquitto --broker-directory /etc/pfedfrz/broker
#
# --wheel FILE      pfedfrz-VERSION-py3-none-any.whl (default: one in FOLDER or beside this script,
#                   else one that is built from the checkout that this script lies in)
# --python PYTHON   3.10 or newer (default: python3)
# --adopt-bundle    FOLDER has another bundle than is installed: go over to it (docs/bundle-updates.md)
#
# Run again it changes nothing; with more devices in FOLDER they are let in, without a restart; with
# another wheel it is an upgrade. Interrupted, it is to be run again. Exit code 0, 1 failed, 2 usage.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=parts/role.sh
. "$here/parts/role.sh"
# shellcheck source=parts/board_checks.sh
. "$here/parts/board_checks.sh"
# shellcheck source=parts/versions.sh
. "$here/parts/versions.sh"
# shellcheck source=parts/folder.sh
. "$here/parts/folder.sh"
# shellcheck source=parts/service.sh
. "$here/parts/service.sh"
# shellcheck source=parts/broker.sh
. "$here/parts/broker.sh"
use_role coordinator

fleet='' runtime=none wheel='' python=python3 adopt=''
while [ $# -gt 0 ]; do
    case $1 in
    --wheel | --python)
        take_build_option "$@"
        shift 2
        ;;
    --adopt-bundle) adopt=yes && shift ;;
    -h | --help) show_help && exit 0 ;;
    -*) usage_error "unknown option $1" ;;
    *)
        [ -z "$fleet" ] || usage_error "one FOLDER, not also $1"
        fleet=${1%/} && shift
        ;;
    esac
done
[ -n "$fleet" ] || usage_error "which FOLDER? pfedfrz provision makes it"
folder=$fleet/coordinator

# What it was trained with goes with the state: another bundle is gone over to, not just put there.
check_same_bundle() {
    local name there
    name=$(toml_values "$folder/coordinator.toml" bundle)
    there=$configuration/coordinator/$name
    if [ -n "$adopt" ] || [ ! -f "$there" ] || cmp -s "$folder/$name" "$there"; then
        return 0
    fi
    [ ! -e "$state/coordinator/journal.sqlite" ] ||
        fail "$folder/$name is another bundle than the one that is installed: to go over to it, run this with --adopt-bundle"
}

adopt_bundle() {
    cd / && setsid --wait runuser -u "$account" -- "$program/current/bin/pfedfrz" coordinator \
        --config "$configuration/coordinator/coordinator.toml" --adopt-bundle --check </dev/null 9>&-
}

require_root
hold_lock
check_system
check_architecture
check_folder
check_same_member "--journal delete"
check_same_bundle
[ ! -d "$fleet/broker" ] || check_broker "$fleet/broker"
check_python
check_runtime
require_room "$(dirname "$state")" "$((100 + 2 * folder_mib))"

trap 'clean_workshop; clean_staged' EXIT
trap 'exit 130' INT TERM HUP

find_wheel "$fleet" "$here"
name_version
changed=''
build_if_not_in_use
make_account
admitted=''
if ! is_installed; then
    # The coordinator follows its list of devices by itself.
    if [ -z "$changed" ] && only_devices_changed; then
        admitted=yes
    else
        changed=yes
    fi
    stage_folder
    stage_configuration
    switch_folder
elif [ -n "$changed" ]; then
    check_staged "$configuration/coordinator" "$version"
fi
remove_old_copies
use_version
if [ ! -e "$command_link" ] && [ ! -L "$command_link" ]; then
    link_command
fi
if [ -n "$adopt" ]; then
    if systemd_runs; then
        systemctl stop "$unit" 2>/dev/null || true
    fi
    adopt_bundle || fail "the state did not go over (above): run this again with --adopt-bundle"
    changed=yes
fi
broker_changed=''
if [ -d "$fleet/broker" ]; then
    install_broker "$fleet/broker"
    bring_broker_up
fi
unit_changed=''
install_unit "$unit"
if ! is_enabled "$unit"; then
    changed=yes
fi
bring_up "$unit" "$changed$unit_changed"
if [ -n "$changed$unit_changed" ]; then
    say "the coordinator of $federation is installed: $(basename "$version")"
    say "configuration $configuration/coordinator, journal and models $state/coordinator"
elif [ -n "$admitted$broker_changed" ]; then
    say "the coordinator of $federation follows what is new in $fleet"
else
    say "the coordinator of $federation is installed already: nothing was changed"
fi
[ -d "$fleet/broker" ] || say "there is no $fleet/broker: the broker is elsewhere"
