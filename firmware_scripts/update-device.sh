#!/bin/bash
# Puts another version of the programs in place of this device's, watches it, and goes back by itself.
#
#   update-device.sh [--wheel FILE] [--watch SECONDS] [--python PYTHON]
#   update-device.sh --back
#
# The new version is built beside the old one, then one link is switched. It stays if the device gets
# ready, stays so for the whole time without a restart, and is connected to its broker at the end.
#
# --wheel FILE      pfedfrz-VERSION-py3-none-any.whl (default: one beside this script, else one that
#                   is built from the checkout that this script lies in)
# --watch SECONDS   how long (default: 60); 0 switches and does not look
# --back            go back to the version before
# --python PYTHON   3.10 or newer (default: what the installation took)
#
# Exit code 0; 1 when it failed, and then the version before runs; 2 usage.

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

wheel='' watch=60 back='' python=''
while [ $# -gt 0 ]; do
    case $1 in
    --watch)
        require_value "$@"
        watch=$2 && shift 2
        ;;
    --wheel | --python)
        take_build_option "$@"
        shift 2
        ;;
    --back) back=yes && shift ;;
    -h | --help) show_help && exit 0 ;;
    *) usage_error "unknown argument $1" ;;
    esac
done
case $watch in
*[!0-9]*) usage_error "--watch $watch: want whole seconds" ;;
esac

# Written before the switch and removed after the verdict: an interrupted update is watched by the
# next run. It names the version before the one that is replaced, or is empty.
open_update=$program/unproved

restart() {
    if systemd_runs; then
        systemctl reset-failed "$unit" 2>/dev/null || true
        systemctl restart --no-block "$unit"
    fi
}

go_back() {
    local previous before=''
    previous=$(version_at previous)
    [ -n "$previous" ] || fail "there is no version before $(basename "$(version_at current)")"
    [ ! -e "$open_update" ] || before=$(cat "$open_update")
    switch_link "versions/$(basename "$previous")" "$program/current"
    restart
    rm -f "$open_update"
    # Last: as long as there is a version before, an interrupted way back can be gone again.
    if is_complete "$(versions_of)/${before:-none}"; then
        switch_link "versions/$before" "$program/previous"
    else
        rm -f "$program/previous"
    fi
}

prove() {
    local since
    since=$(date +%s)
    if ! systemd_runs; then
        rm -f "$open_update"
        remove_other_versions
        say "$(basename "$version") is in place; it is not started, since systemd does not run here"
        return
    fi
    restart
    [ "$watch" = 0 ] || say "watching $(basename "$version") for $watch s"
    if [ "$watch" != 0 ] && ! watch_health "$watch"; then
        last_words "$since" >&2
        go_back
        remove_other_versions
        fail "$(basename "$version") is not healthy: $reason; $(basename "$(version_at current)") runs again"
    fi
    rm -f "$open_update"
    remove_other_versions
    say "$(basename "$version") is in place; to go back: $script.sh --back"
}

require_root
hold_lock
if ! is_complete "$program/current" || [ ! -f "$units/$unit" ]; then
    fail "no device is installed here: install-device.sh does that"
fi
if [ -n "$back" ]; then
    go_back
    say "$(basename "$(version_at current)") is in place again"
    exit 0
fi
runtime=$(sed -n 's/^runtime=//p' "$program/current/complete")
extras=$(sed -n 's/^extras=//p' "$program/current/complete")
python=${python:-$(sed -n 's/^python=//p' "$program/current/complete")}
check_system
check_architecture
check_python
check_runtime

trap clean_workshop EXIT
trap 'exit 130' INT TERM HUP

find_wheel "$here"
name_version
if [ "$(version_at current)" = "$version" ]; then
    if [ -e "$open_update" ]; then
        prove
    else
        say "$(basename "$version") is in place already: nothing was changed"
    fi
    exit 0
fi
check_room
build_version
check_staged "$configuration/device" "$version"
if [ ! -e "$open_update" ]; then
    basename "$(version_at previous)" >"$open_update.new"
    mv -T "$open_update.new" "$open_update"
fi
switch_version
prove
