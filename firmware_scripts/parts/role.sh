# shellcheck shell=bash disable=SC2034
# Sourced by the scripts beside this folder: the places of a device, or of a coordinator, and how a
# script speaks. Both may be on one machine; they share nothing but the folder /etc/pfedfrz.

set -euo pipefail
umask 022
export LC_ALL=C PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1

script=$(basename "$0" .sh)
configuration=/etc/pfedfrz
units=/etc/systemd/system
command_link=/usr/local/bin/pfedfrz

use_role() {
    role=$1
    case $role in
    device) account=pfedfrz ;;
    coordinator) account=pfedfrz-coordinator ;;
    esac
    program=/opt/$account
    state=/var/lib/$account
    unit=pfedfrz-$role.service
    record=$state/installed-from
}

say() {
    printf '%s: %s\n' "$script" "$1"
}

# One line, what happened and what to do; the script ends and its own traps clean up.
fail() {
    printf '%s: error: %s\n' "$script" "$1" >&2
    exit "${2:-1}"
}

usage_error() {
    fail "$1 (try --help)" 2
}

# For options: the value that follows has to be there.
require_value() {
    [ $# -ge 2 ] || usage_error "$1 wants a value"
}

# The comment at the head of the script.
show_help() {
    sed -n '2,/^$/{s/^# \{0,1\}//;p;}' "$0"
}

require_root() {
    [ "$(id -u)" = 0 ] || fail "this changes the system: run it as root (sudo $0 ...)"
}

# Held until the script ends, however that is.
hold_lock() {
    exec 9>"/run/$account.lock"
    flock --nonblock 9 || fail "another script of this folder is at work on this machine: wait for it"
}

# Whether systemd runs here: in a chroot or an image that is being made it does not.
systemd_runs() {
    [ -d /run/systemd/system ]
}
