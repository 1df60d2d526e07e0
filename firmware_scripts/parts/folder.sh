# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by the scripts beside this folder. What `pfedfrz provision` made for one member becomes
#
#   /etc/pfedfrz/device -> .device-1a2b3c4d   configuration; secrets 0600 for the service's user
#   /var/lib/pfedfrz/device/                  state: personal weights, and the key device.key
#   /var/lib/pfedfrz/data/                    samples that lay in the folder
#   /var/lib/pfedfrz/installed-from           whose folder it was, and digests of its files
#
# (a coordinator's likewise). All is copied and checked beside its place first, then switched by
# renames, the record last: interrupted in between, the next run does the rest.

# Every value of a key in a TOML file of `pfedfrz provision`'s form.
toml_values() {
    sed -n "s/^$2 *= *\"\([^\"]*\)\".*/\1/p" "$1"
}

# Sets `federation` and `member`; everything that the TOML file names must be there.
check_folder() {
    local toml=$folder/$role.toml key value
    [ -d "$folder" ] || fail "$folder is no folder: give what pfedfrz provision made for this $role"
    [ -f "$toml" ] || fail "$toml is not there: give the $role's own folder that pfedfrz provision made"
    federation=$(toml_values "$toml" federation)
    member=coordinator
    [ "$role" = coordinator ] || member=$(toml_values "$toml" device)
    if [ -z "$federation" ] || [ -z "$member" ]; then
        fail "$toml does not say federation = \"...\" and whose it is: give a folder that pfedfrz provision made"
    fi
    value=$(toml_values "$toml" state_dir)
    [ "$value" = state ] ||
        fail "$toml: state_dir = \"$value\": want \"state\", which becomes $state/$role"
    toml_values "$toml" key_file | grep -xF "$role.key" >/dev/null ||
        fail "$toml: want key_file = \"$role.key\", which becomes $state/$role/$role.key"
    for key in bundle key_file password_file ca_file certificate_file devices train test; do
        while read -r value; do
            case $value in
            # A source with its kind before it (docs/data.md): the staged device looks itself.
            folder:* | csv:* | npz:* | factory:*) ;;
            /*) [ -e "$value" ] || fail "$toml: $key = \"$value\" is not there: put it there" ;;
            *) [ -e "$folder/$value" ] || fail "$toml: $key = \"$value\" is not in $folder: put it there" ;;
            esac
        done < <(toml_values "$toml" "$key")
    done
    folder_mib=$(du -sm "$folder" | cut -f 1)
    describe_folder
}

# Whose machine this is already: weights of one member are nothing for another.
check_same_member() {
    local there
    [ -f "$record" ] || return 0
    there=$(head -n 1 "$record")
    [ "$there" = "$federation/$member" ] ||
        fail "$state is $there's, not $federation/$member's: uninstall-$role.sh $1 first"
}

# Sets `description`, which is recorded: whose folder, then the digests of its files. State of an
# earlier try is none of it, nor what is for a card.
describe_folder() {
    description=$(
        printf '%s/%s\n' "$federation" "$member"
        cd "$folder"
        find . -path ./state -prune -o -type f ! -name '*.whl' ! -name first-boot.sh ! -name user-data -print0 | sort -z | xargs -0 sha256sum
    )
}

# True when this folder, as it is, was installed before and is still in place.
is_installed() {
    [ -f "$configuration/$role/$role.toml" ] && [ -f "$record" ] &&
        [ "$description" = "$(cat "$record")" ]
}

# True when the folder differs from what is recorded in its list of devices alone.
only_devices_changed() {
    [ -f "$configuration/$role/$role.toml" ] && [ -f "$record" ] &&
        [ "$(grep -v '  ./devices.toml$' <<<"$description")" = "$(grep -v '  ./devices.toml$' "$record")" ]
}

make_account() {
    if ! getent passwd "$account" >/dev/null; then
        new_account=$account
        useradd --system --user-group --no-create-home --home-dir "$state" --shell /usr/sbin/nologin "$account"
    fi
}

# Copies the folder to where nothing looks yet, and has the programs read it there as they will.
stage_folder() {
    staged=$state/.staged
    rm -rf "$staged"
    # Through it to what is its own, no further.
    install -d -m 0755 "$state"
    install -d -m 0700 "$staged"
    cp -R --no-preserve=mode,ownership "$folder/." "$staged"
    rm -rf "$staged/state" "$staged"/*.whl "$staged/first-boot.sh" "$staged/user-data"
    chown -R "$account:$account" "$staged"
    chmod -R go= "$staged"
    # The account reads it and changes nothing: what root copies from it is what root put there.
    chown "root:$account" "$staged"
    chmod 0750 "$staged"
    check_staged "$staged" "$version"
}

# check_staged FOLDER VERSION: the service's own user reads all files, and the runtime loads; away from
# root's terminal and lock.
check_staged() {
    local said
    if ! said=$(cd / && setsid --wait runuser -u "$account" -- "$2/bin/pfedfrz" "$role" --check --config "$1/$role.toml" 2>&1 </dev/null 9>&-); then
        fail "$(printf '%s' "$said" | tail -n 1 | sed 's/^error: //' | sed "s#$state/\.staged#${folder:-$1}#g")"
    fi
}

# The configuration's own files; all else in the folder are samples.
is_configuration() {
    case $1 in
    *.toml | *.pem | tls.key | password | *.successions) return 0 ;;
    *) toml_values "$staged/$role.toml" bundle | grep -xF "$1" >/dev/null ;;
    esac
}

stage_configuration() {
    local file name
    staged_configuration=$configuration/.$role-$(printf '%s' "$description" | sha256sum | cut -c 1-8)
    # The one that is in use is not written to, not even if it was damaged since.
    [ "$(readlink -f "$configuration/$role" || true)" != "$staged_configuration" ] ||
        staged_configuration=$staged_configuration-again
    rm -rf "$staged_configuration"
    install -d -m 0755 "$configuration" "$staged_configuration"
    for file in "$staged"/*; do
        name=$(basename "$file")
        if [ "$name" = "$role.key" ] || [ "$name" = "$role.key.successions" ]; then
            continue
        elif is_configuration "$name"; then
            cp -p "$file" "$staged_configuration/$name"
        else
            ln -s "$state/data/$name" "$staged_configuration/$name"
        fi
    done
    sed -i -e "s#^state_dir *= *\"state\"#state_dir = \"$state/$role\"#" \
        -e "s#^key_file *= *\"$role.key\"#key_file = \"$state/$role/$role.key\"#" "$staged_configuration/$role.toml"
    for file in "$staged_configuration"/*; do
        [ ! -L "$file" ] || continue
        case $(basename "$file") in
        password | tls.key) chmod 0600 "$file" && chown "$account:$account" "$file" ;;
        # Read by the service, written by root: it cannot change what it is told.
        *) chmod 0640 "$file" && chown "root:$account" "$file" ;;
        esac
    done
}

# The key goes in when it is new: one that the service has rotated since stays.
install_key() {
    local key=$role.key digest
    digest=$(sha256sum <"$staged/$key" | cut -d ' ' -f 1)
    if [ -f "$state/$role/$key" ] && grep -qF "$digest  ./$key" "$record" 2>/dev/null; then
        return
    fi
    rm -f "$state/$role/$key.successions"
    [ ! -f "$staged/$key.successions" ] || mv -T "$staged/$key.successions" "$state/$role/$key.successions"
    mv -T "$staged/$key" "$state/$role/$key"
}

# Digests of what lies at a name in the folder, given a description.
digests_of() {
    grep -E "  \./$(printf '%s' "$1" | sed 's/[][\\.*^$+?(){}|]/\\&/g')(/|\$)" || true
}

# Samples grow where they are used: what the folder has as it had it stays away, and what gives way to
# others is kept beside them.
install_samples() {
    local file name there keep_as number
    for file in "$staged"/*; do
        name=$(basename "$file")
        if [ "$name" = "$role.key" ] || is_configuration "$name"; then
            continue
        fi
        there=$state/data/$name
        if [ -e "$there" ] && [ -f "$record" ] &&
            [ "$(digests_of "$name" <<<"$description")" = "$(digests_of "$name" <"$record")" ]; then
            continue
        fi
        install -d -m 0750 -o root -g "$account" "$state/data"
        if [ -e "$there" ] && ! diff -rq "$file" "$there" >/dev/null; then
            keep_as=$there.before
            for ((number = 2; ; number++)); do
                [ -e "$keep_as" ] || break
                keep_as=$there.before-$number
            done
            mv -T "$there" "$keep_as"
            say "$there: the samples that were there are kept as $keep_as"
        fi
        rm -rf "$state/data/.$name.new"
        mv "$file" "$state/data/.$name.new"
        [ ! -d "$there" ] || rm -rf "$there"
        mv -T "$state/data/.$name.new" "$there"
    done
}

# From the copies to their places.
switch_folder() {
    local new_record=$state/.installed-from
    install -d -m 0700 -o "$account" -g "$account" "$state/$role"
    # An uninstallation gave them to root.
    chown -R "$account:$account" "$state/$role"
    if [ -d "$state/data" ] && [ "$(stat -c %G "$state/data")" = root ]; then
        chown -R "$account:$account" "$state/data"
    fi
    install_key
    install_samples
    [ ! -d "$configuration/$role" ] || [ -L "$configuration/$role" ] ||
        fail "$configuration/$role is a folder of somebody else's: move it away, and run this again"
    keep_edited
    switch_link "$(basename "$staged_configuration")" "$configuration/$role"
    (umask 077 && printf '%s\n' "$description" >"$new_record")
    mv -T "$new_record" "$record"
}

# A file that a person changed in place, and which the new folder replaces, is kept beside it.
keep_edited() {
    local file=$configuration/$role/$role.toml
    [ -f "$file" ] || return 0
    if ! cmp -s "$file" "$staged_configuration/$role.toml"; then
        cp -p "$file" "$staged_configuration/$role.toml.before"
    fi
}

# Copies, and secrets that are no longer in use; also those of a run that was killed before this.
remove_old_copies() {
    local other
    rm -rf "$state/.staged"
    for other in "$configuration/.$role-"*; do
        [ "$other" = "$(readlink -f "$configuration/$role")" ] || rm -rf "$other"
    done
}

# For traps: what a first installation that ended early leaves is nothing.
clean_staged() {
    [ -z "${staged:-}" ] || rm -rf "$staged"
    if [ -n "${staged_configuration:-}" ] && [ "$(readlink -f "$configuration/$role" || true)" != "$staged_configuration" ]; then
        rm -rf "$staged_configuration"
    fi
    rmdir "$configuration" "$state" 2>/dev/null || true
    if [ -n "${new_account:-}" ] && [ ! -e "$state" ]; then
        userdel "$new_account" 2>/dev/null || true
    fi
}
