# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by the scripts beside this folder. Each step is right whether or not it was done before, so
# that an interrupted uninstallation is finished by another. Sets `was_here` when there was something.

remove_service() {
    local place
    for place in "$units/$unit" "$configuration/$role" "$program"; do
        if [ -e "$place" ] || [ -L "$place" ]; then
            was_here=yes
        fi
    done
    if [ -e "$units/$unit" ]; then
        take_down "$unit"
    fi
    if [ "$(readlink "$command_link" || true)" = "$program/current/bin/pfedfrz" ]; then
        rm -f "$command_link"
    fi
    rm -rf "$program" "${configuration:?}/$role" "${configuration:?}/.$role-"*
    rmdir "$configuration" 2>/dev/null || true
}

# remove_state OPTION WHAT: keep it for root alone, or delete it; the account goes either way.
remove_state() {
    if [ -n "$delete" ] && [ -e "$state" ]; then
        rm -rf "$state"
        was_here=yes
        say "$state is deleted: $2"
    elif [ -e "$state" ]; then
        # The account's number may be somebody else's some day.
        chown -R root:root "$state"
        [ -z "$was_here" ] || say "$state is kept, for root alone: $2; to delete it: $script.sh --$1 delete"
    fi
    if getent passwd "$account" >/dev/null; then
        was_here=yes
        userdel "$account"
    fi
    [ -z "$was_here" ] || say "the $role is uninstalled"
}
