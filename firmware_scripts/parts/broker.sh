# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by the scripts beside this folder. Mosquitto's files lie in one folder that it owns and where
# it keeps its sessions, so they are replaced one by one, each whole and with its owner: Mosquitto that
# cannot read its access list at a reload goes on without one.

broker=$configuration/broker
broker_unit=pfedfrz-broker.service
broker_files='server.key server.pem ca.pem revoked.pem passwords access.acl mosquitto.conf'

check_broker() {
    local conf=$1/mosquitto.conf user port
    [ -f "$conf" ] || fail "$conf is not there: give the folder that pfedfrz provision made, with broker/ in it"
    if ! command -v mosquitto >/dev/null || ! getent passwd mosquitto >/dev/null; then
        fail "Mosquitto is not here: apt-get install mosquitto"
    fi
    user=$(sed -n 's/^user //p' "$conf")
    if [ "$user" != mosquitto ] || ! grep -qxF "acl_file $broker/access.acl" "$conf"; then
        fail "$conf is for another place or user: make the federation with pfedfrz provision DIR --broker-user mosquitto --broker-directory $broker"
    fi
    port=$(sed -n 's/^listener \([0-9]*\).*/\1/p' "$conf" | head -n 1)
    [ "${port:-0}" -ge 1024 ] || fail "$conf: port ${port:-?} is for root alone, and this broker is not: provision with --port 1024 or higher"
}

# install_broker FOLDER: sets `broker_changed` to nothing, reload or restart.
install_broker() {
    local name
    broker_changed=''
    install -d -m 0755 "$configuration"
    [ -d "$broker" ] || install -d -m 0700 -o mosquitto -g mosquitto "$broker"
    for name in $broker_files; do
        [ -f "$1/$name" ] || continue
        if cmp -s "$1/$name" "$broker/$name"; then
            continue
        fi
        # What a person changed there stays, unless the folder has another one than it had.
        if [ "$name" = mosquitto.conf ] && [ -f "$broker/$name" ] && cmp -s "$1/$name" "$broker/.$name.provisioned"; then
            continue
        fi
        put_broker_file "$1/$name" "$name"
        [ "$name" != mosquitto.conf ] || put_broker_file "$1/$name" ".$name.provisioned"
        case $name in
        mosquitto.conf) broker_changed=restart ;;
        *) broker_changed=${broker_changed:-reload} ;;
        esac
    done
}

# Made in a folder of root's own: in the broker's, its user could lay a link in the way.
put_broker_file() {
    local made=$configuration/.broker-new
    rm -rf "$made"
    install -d -m 0700 "$made"
    install -m 0600 -o mosquitto -g mosquitto -T "$1" "$made/$2"
    mv -T "$made/$2" "$broker/$2"
    rm -rf "$made"
}

bring_broker_up() {
    unit_changed=''
    install_unit "$broker_unit"
    if [ "$broker_changed" = reload ] && [ -z "$unit_changed" ] && is_enabled "$broker_unit" &&
        systemd_runs && systemctl is-active --quiet "$broker_unit"; then
        systemctl reload "$broker_unit"
        say "$broker_unit has read its accounts and its access list again"
        return
    fi
    is_enabled "$broker_unit" || broker_changed=restart
    bring_up "$broker_unit" "$broker_changed$unit_changed"
}
