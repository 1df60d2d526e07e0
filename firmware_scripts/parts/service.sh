# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by the scripts beside this folder. Units, and how the service is.

# install_unit UNIT: sets `unit_changed` when the file is new or another.
install_unit() {
    local name=$1 drop_in=$units/$1.d/backoff.conf
    if ! cmp -s "$here/units/$name" "$units/$name"; then
        put_unit "$here/units/$name" "$units/$name"
    fi
    # Waits that grow came with systemd 254; an older one would say of every line that it is unknown.
    if [ "$name" != pfedfrz-broker.service ] && [ "$(systemd_version)" -ge 254 ] && ! cmp -s "$here/units/backoff.conf" "$drop_in"; then
        install -d -m 0755 "$units/$name.d"
        put_unit "$here/units/backoff.conf" "$drop_in"
    fi
}

put_unit() {
    cp --no-preserve=mode,ownership "$1" "$2.new"
    chmod 0644 "$2.new"
    mv -T "$2.new" "$2"
    unit_changed=yes
}

systemd_version() {
    systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p'
}

is_enabled() {
    systemctl is-enabled --quiet "$1" 2>/dev/null
}

# bring_up UNIT CHANGED: enabled, and running with what is installed now; says what it did.
bring_up() {
    local name=$1 changed=$2
    is_enabled "$name" || systemctl enable --quiet "$name" 2>/dev/null || fail "systemctl could not enable $name"
    if ! systemd_runs; then
        [ -z "$changed" ] || say "$name is enabled; it is not started, since systemd does not run here"
        return
    fi
    if [ -n "$changed" ]; then
        systemctl daemon-reload
        systemctl restart --no-block "$name"
        say "$name is started; how it is: systemctl status $name"
    elif ! systemctl is-active --quiet "$name"; then
        systemctl start --no-block "$name"
        say "$name did not run and is started"
    fi
}

property() {
    systemctl show --property="$1" --value "$unit"
}

# watch_health SECONDS: whether the service became ready and stayed so, without a restart, connected
# at the end. Sets `reason` when it is not.
watch_health() {
    local seconds=$1 until state_now sub status
    until=$((SECONDS + seconds))
    while :; do
        state_now=$(property ActiveState)
        sub=$(property SubState)
        status=$(property StatusText)
        if [ "$(property NRestarts)" != 0 ] || [ "$state_now" = failed ] || [ "$sub" = auto-restart ]; then
            reason="it ended ($(property Result))"
            return 1
        fi
        [ "$SECONDS" -lt "$until" ] || break
        sleep 1
    done
    [ "$state_now" = active ] || {
        reason="it was not ready within $seconds s"
        return 1
    }
    case $status in
    connected*) return 0 ;;
    *)
        reason="it says: ${status:-nothing}"
        return 1
        ;;
    esac
}

# The service's last words since a moment (seconds since 1970), each on a line of its own.
last_words() {
    journalctl --quiet --no-pager --output=cat --unit="$unit" --since="@$1" 2>/dev/null |
        grep -v '^\(Start\|Stopp\|Scheduled\)' | tail -n 5 | sed 's/^/    /' || true
}

take_down() {
    if systemd_runs; then
        systemctl stop "$1" 2>/dev/null || true
    fi
    systemctl disable --quiet "$1" 2>/dev/null || true
    rm -rf "${units:?}/$1.d"
    rm -f "$units/$1" "$units/$1.new"
    ! systemd_runs || systemctl daemon-reload
}
