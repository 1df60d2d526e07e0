#!/bin/bash
# Installs one device on this board: programs, configuration and a systemd unit.
#
#   install-device.sh FOLDER [--runtime NAME] [--wheel FILE] [--python PYTHON]
#
# FOLDER is what `pfedfrz provision` made for this board, devices/NAME, with its samples.
#
# --runtime NAME    onnxruntime, executorch, torch or onnxruntime-training; only that one is
#                   installed (default: what FOLDER/device.toml says)
# --wheel FILE      pfedfrz-VERSION-py3-none-any.whl (default: one in FOLDER or beside this script,
#                   else one that is built from the checkout that this script lies in)
# --python PYTHON   3.10 or newer (default: python3)
#
# Run again it changes nothing; with another wheel it is an upgrade in place (update-device.sh also
# watches and goes back); interrupted, it is to be run again. Exit code 0, 1 failed, 2 usage.

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
use_role device

folder='' runtime='' wheel='' python=python3
while [ $# -gt 0 ]; do
    case $1 in
    --runtime)
        require_value "$@"
        runtime=$2 && shift 2
        ;;
    --wheel | --python)
        take_build_option "$@"
        shift 2
        ;;
    -h | --help) show_help && exit 0 ;;
    -*) usage_error "unknown option $1" ;;
    *)
        [ -z "$folder" ] || usage_error "one FOLDER, not also $1"
        folder=${1%/} && shift
        ;;
    esac
done
[ -n "$folder" ] || usage_error "which FOLDER? pfedfrz provision makes one for each device"

require_root
hold_lock
check_system
check_architecture
check_folder
check_same_member "--personal-weights delete"
said_runtime=$(toml_values "$folder/device.toml" runtime)
runtime=${runtime:-${said_runtime:-onnxruntime}}
[ "$runtime" = "${said_runtime:-onnxruntime}" ] ||
    fail "$folder/device.toml says runtime = \"$said_runtime\": change it there, or leave --runtime $runtime out"
# What reads images is a package more.
extras=''
if grep -Eq '^(train|test) *= *"folder:' "$folder/device.toml"; then
    extras=images
fi
check_python
check_runtime
require_room "$(dirname "$state")" "$((100 + 2 * folder_mib))"

trap 'clean_workshop; clean_staged' EXIT
trap 'exit 130' INT TERM HUP

find_wheel "$folder" "$here"
name_version
changed=''
build_if_not_in_use
make_account
if ! is_installed; then
    changed=yes
    stage_folder
    stage_configuration
    switch_folder
elif [ -n "$changed" ]; then
    check_staged "$configuration/device" "$version"
fi
remove_old_copies
use_version
unit_changed=''
install_unit "$unit"
if [ "$(readlink "$command_link" || true)" != "$program/current/bin/pfedfrz" ]; then
    link_command
fi
if ! is_enabled "$unit"; then
    changed=yes
fi
bring_up "$unit" "$changed$unit_changed"
if [ -n "$changed$unit_changed" ]; then
    say "$member of $federation is installed: $(basename "$version")"
    say "configuration $configuration/device, personal weights and key $state/device"
else
    say "$member of $federation is installed already: nothing was changed"
fi
