#!/bin/bash
# Puts a device's first boot on a card that was just written, on the computer where it was written.
#
#   prepare-card.sh BOOT DEVICE
#
# BOOT    the card's boot partition where this computer has mounted it, such as /media/me/bootfs
# DEVICE  the folder devices/NAME that `pfedfrz provision --first-boot WHEEL` made
#
# What Raspberry Pi Imager was told (user, Wi-Fi, ssh) stays: the first boot is added to its own,
# which is cloud-init on Raspberry Pi OS 13 and Ubuntu, and firstrun.sh on Raspberry Pi OS 12.
# Run twice, the second run changes nothing but the copy. Exit code 0, 1 failed, 2 usage.
set -euo pipefail

fail() {
    echo "prepare-card: $1" >&2
    exit 1
}

case ${1-} in
-h | --help)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
    exit 0
    ;;
-*)
    echo "prepare-card: unknown argument $1 (try --help)" >&2
    exit 2
    ;;
esac
if [ $# -ne 2 ]; then
    echo "prepare-card: want BOOT and DEVICE (try --help)" >&2
    exit 2
fi
boot=$1
script=$2/first-boot.sh
on_board=/boot/firmware/pfedfrz-first-boot.sh # where the board has its boot partition
hook="bash $on_board"

[ -f "$script" ] || fail "$script is not there: make it with pfedfrz provision DIR --first-boot WHEEL"
[ -f "$boot/cmdline.txt" ] || [ -f "$boot/user-data" ] || fail "$boot is no boot partition of a card: it has neither cmdline.txt nor user-data"

# A file is replaced whole: a card that is pulled out keeps the old one. FAT knows no modes.
replace() {
    if ! cat >"$1.new" || ! mv "$1.new" "$1"; then
        fail "$1 cannot be written: is the card full, or locked?"
    fi
}

hint=''
if grep -qsF "$hook" "$boot/user-data" "$boot/firstrun.sh"; then
    hint="this card was prepared before: if its board has started with it, run $on_board there as root"
fi
replace "$boot/pfedfrz-first-boot.sh" <"$script"
if [ -f "$boot/user-data" ]; then
    if ! grep -qF "$hook" "$boot/user-data"; then
        head -n 1 "$boot/user-data" | grep -q '^#cloud-config' ||
            fail "$boot/user-data is no #cloud-config: call $hook from it by hand"
        # An item more in the list runcmd, in the list's own indentation, or a list of its own.
        awk -v item="- [ bash, $on_board ]  # $hook" '
            waits { match($0, /^ */); print substr($0, 1, RLENGTH) item; waits = 0; done = 1 }
            { print }
            /^runcmd: *$/ { waits = 1 }
            END {
                if (waits) print item
                else if (!done) { print "runcmd:"; print item }
            }' "$boot/user-data" | replace "$boot/user-data"
        grep -c '^runcmd:' "$boot/user-data" | grep -qx 1 ||
            fail "$boot/user-data has a runcmd in a form of its own: call $hook from it by hand"
    fi
    way=cloud-init
elif [ -f "$boot/firstrun.sh" ]; then
    if ! grep -qF "$hook" "$boot/firstrun.sh"; then
        awk -v hook="$hook" '
            !done && /^(rm -f .*firstrun\.sh|exit 0)/ { print hook " || true"; done = 1 }
            { print }
            END { if (!done) print hook " || true" }' "$boot/firstrun.sh" | replace "$boot/firstrun.sh"
    fi
    way=firstrun.sh
else
    replace "$boot/firstrun.sh" <<FIRSTRUN
#!/bin/bash
$hook || true
rm -f /boot/firmware/firstrun.sh
sed -i 's| systemd\.run[^ ]*||g; s| systemd\.unit=kernel-command-line\.target||g' /boot/firmware/cmdline.txt
exit 0
FIRSTRUN
    if ! grep -q 'systemd\.run=' "$boot/cmdline.txt"; then
        sed '1s|$| systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target|' \
            "$boot/cmdline.txt" | replace "$boot/cmdline.txt"
    fi
    way="a firstrun.sh of its own"
fi
sync
echo "prepare-card: $boot is ready, by $way: put the card into the board and switch it on"
[ -z "$hint" ] || echo "prepare-card: $hint"
echo "prepare-card: the card holds this device's secrets until its first start: do not lose it"
