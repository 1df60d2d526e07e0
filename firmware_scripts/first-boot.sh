#!/bin/bash
# shellcheck disable=SC2317  # behind exit there is the archive
# Makes a board enrol by itself: run once as root at its first start, by Raspberry Pi Imager, by
# cloud-init or by hand.
#
#   first-boot.sh
#
# `pfedfrz provision --first-boot WHEEL` makes it whole: behind the last line stands an archive of
# the device's folder with its secrets, these scripts and the wheel. It unpacks that and leaves a
# unit, pfedfrz-first-boot.service, which installs as soon as there is a network and tries again
# every minute until it has succeeded; then all of it is removed, this file included. Exit code 0,
# 1 failed, 2 usage.
set -euo pipefail
umask 077

place=/var/lib/pfedfrz-first-boot
unit=/etc/systemd/system/pfedfrz-first-boot.service
self=$(readlink -f "$0")

fail() {
    echo "first-boot: $1" >&2
    exit 1
}

# What a person reads, in the journal and, at a screen, on it.
say() {
    echo "first-boot: $1"
}

unpack() {
    [ "$(id -u)" -eq 0 ] || fail "run it as root"
    grep -q '^__ARCHIVE__$' "$self" || fail "$self is cut short: copy it again"
    mkdir -p "$place"
    rm -rf "$place/unpacking"
    mkdir "$place/unpacking"
    sed '1,/^__ARCHIVE__$/d' "$self" | base64 -d | tar -xzf - --no-same-owner -C "$place/unpacking" ||
        fail "$self is cut short, or the disk is full: nothing was installed"
    rm -rf "$place/board"
    mv "$place/unpacking" "$place/board"
    [ "$self" = "$place/first-boot.sh" ] || install -m 0700 "$self" "$place/first-boot.sh"
    echo "$self" >"$place/started-from"
    mkdir -p "$(dirname "$unit")"
    cat >"$unit" <<UNIT
[Unit]
Description=pfedfrz: install this board at its first start
Wants=network-online.target time-sync.target
After=network-online.target time-sync.target
ConditionPathExists=$place/first-boot.sh

[Service]
Type=oneshot
ExecStart=/bin/bash $place/first-boot.sh --install
# No network yet, a mirror that is away, a clock that is not set: it is tried until it is done.
Restart=on-failure
RestartSec=60
TimeoutStartSec=3600

[Install]
WantedBy=multi-user.target
UNIT
    chmod 0644 "$unit"
    sync
    forget_the_card
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        systemctl enable pfedfrz-first-boot.service
        # In the firstrun of Raspberry Pi OS the board starts anew behind this; elsewhere, now.
        systemctl start --no-block pfedfrz-first-boot.service
    else
        systemctl enable pfedfrz-first-boot.service
    fi
    say "the board installs itself when it has a network; see: journalctl -u pfedfrz-first-boot"
}

# The boot partition is readable on any computer, and its files have no owner: no secret stays there.
forget_the_card() {
    local boot file
    for boot in /boot/firmware /boot; do
        for file in firstrun.sh user-data pfedfrz-first-boot.sh pfedfrz-first-boot.sh.new; do
            [ -f "$boot/$file" ] || continue
            if [ "${file#pfedfrz}" != "$file" ] || grep -q "^__ARCHIVE__$" "$boot/$file"; then
                forget "$boot/$file"
            elif grep -q "\"path\": \"$place/first-boot.sh\"" "$boot/$file"; then
                forget "$boot/$file" # pfedfrz made it whole: nothing else was in it
                echo "#cloud-config" >"$boot/$file"
            fi
        done
        if [ -f "$boot/cmdline.txt" ]; then
            sed -i 's| systemd\.run[^ ]*||g; s| systemd\.unit=kernel-command-line\.target||g' "$boot/cmdline.txt"
        fi
    done
    sync
}

# Written over first: a card is read by others, and what is merely removed can be brought back. How
# the card itself moves its blocks is out of reach.
forget() {
    shred -n 1 -u "$1" 2>/dev/null || rm -f "$1"
}

board_packages() {
    python3 -c 'import ensurepip, venv' 2>/dev/null && return 0
    say "installing python3-venv"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update >/dev/null || fail "no packages can be fetched: is there a network?"
    apt-get -q install -y --no-install-recommends python3-venv >/dev/null ||
        fail "python3-venv cannot be installed (see above)"
}

install_device() {
    local wheels=("$place"/board/pfedfrz-*.whl)
    board_packages
    bash "$place/board/firmware_scripts/install-device.sh" "$place/board/device" --wheel "${wheels[0]}"
    [ "$(cat "$place/started-from")" = "$place/first-boot.sh" ] || forget "$(cat "$place/started-from")"
    # cloud-init keeps what it was told.
    grep -lsF "$place/first-boot.sh" /var/lib/cloud/instances/*/*.txt* | while read -r copy; do
        forget "$copy"
    done || true
    systemctl disable pfedfrz-first-boot.service 2>/dev/null || true
    rm -f "$unit"
    rm -rf "$place"
    say "this board is installed; see: pfedfrz device status --config /etc/pfedfrz/device/device.toml"
}

case ${1-} in
'') unpack ;;
--install) install_device ;;
-h | --help) sed -n '3,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0" ;;
*)
    echo "first-boot: unknown argument $1 (try --help)" >&2
    exit 2
    ;;
esac
exit 0
__ARCHIVE__
