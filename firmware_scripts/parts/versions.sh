# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by the scripts beside this folder. Versions of the programs lie beside each other:
#
#   /opt/pfedfrz/versions/0.1.0-onnxruntime-py3.11-1a2b3c4d/   a virtual environment
#   /opt/pfedfrz/current   -> versions/...                     what the unit runs
#   /opt/pfedfrz/previous  -> versions/...                     what an update goes back to
#
# A name says all that went in: version, runtime, Python and the wheel's digest. An environment is
# built at its place, since its scripts hold that path, and its file `complete` is written last: one
# without that file is what an interruption left, and is built anew.

versions_of() {
    printf '%s/versions\n' "$program"
}

# For options: what a version is built from, and with.
take_build_option() {
    require_value "$@"
    case $1 in
    --wheel) wheel=$2 ;;
    --python) python=$2 ;;
    esac
}

# Sets `wheel`: the one given, else one in the folders given, else one built from this checkout.
find_wheel() {
    local folder found=()
    if [ -n "$wheel" ]; then
        [ -f "$wheel" ] || fail "--wheel $wheel is not there"
        case $(basename "$wheel") in
        pfedfrz-*-py3-none-any.whl) return ;;
        *) fail "--wheel $wheel is no wheel of this project (pfedfrz-VERSION-py3-none-any.whl)" ;;
        esac
    fi
    for folder in "$@"; do
        found=("$folder"/pfedfrz-*-py3-none-any.whl)
        [ -e "${found[0]}" ] || continue
        [ ${#found[@]} = 1 ] || fail "$folder has ${#found[@]} wheels of this project: name one with --wheel"
        wheel=${found[0]}
        return
    done
    [ -f "$here/../pyproject.toml" ] ||
        fail "there is no wheel: lay pfedfrz-VERSION-py3-none-any.whl beside this script, or name it with --wheel"
    build_wheel
}

build_wheel() {
    say "building a wheel from the checkout"
    workshop=$(mktemp -d)
    "$python" -m venv "$workshop/venv" || fail "$python could not make a virtual environment in $workshop"
    run_pip "$workshop/venv" "build the wheel" wheel --quiet --no-deps --wheel-dir "$workshop" "$here/.."
    wheel=$(echo "$workshop"/pfedfrz-*-py3-none-any.whl)
}

# run_pip ENVIRONMENT WHAT ARGUMENT...: pip's own last word becomes the one line.
run_pip() {
    local environment=$1 what=$2 said why
    shift 2
    # Not into a file: the disk may be what is wrong.
    if ! said=$(TMPDIR=$environment "$environment/bin/python" -m pip --no-cache-dir "$@" 2>&1); then
        why=$(grep -i '^error' <<<"$said" | tail -n 1 || true)
        fail "pip could not $what: ${why:-${said##*$'\n'}}; check the network and the disk, then run this again"
    fi
}

# Sets `version`: the folder of what this wheel, runtime and Python make.
name_version() {
    local digest release
    digest=$(sha256sum "$wheel" | cut -c 1-8)
    release=$(basename "$wheel" | cut -d - -f 2)
    version=$(versions_of)/$release-$runtime${extras:++$extras}-py$python_version-$digest
}

is_complete() {
    [ -f "$1/complete" ]
}

# Makes `version`, if it is not there. Interrupted, it leaves a folder that nothing refers to.
build_version() {
    local with=''
    built=$version
    is_complete "$version" && return
    say "making $version (a few minutes)"
    rm -rf "$version"
    mkdir -p "$version"
    "$python" -m venv "$version" || fail "$python could not make a virtual environment in $version"
    case $runtime in
    onnxruntime | onnxruntime-training | torch) with=$runtime ;;
    esac
    [ -z "${extras:-}" ] || with=${with:+$with,}$extras
    [ -z "$with" ] || with="[$with]"
    run_pip "$version" "install pfedfrz$with" install --quiet "$wheel$with"
    if [ "$runtime" = executorch ]; then
        run_pip "$version" "install executorch" install --quiet --no-deps executorch==1.5.1
        "$here/build-executorch-binding.sh" --python "$version/bin/python" >/dev/null ||
            fail "the binding of executorch could not be built (above)"
        # Of the wheel a device needs the libraries; what exports programs is half of it, for others.
        find "$version"/lib/python*/site-packages/executorch -mindepth 1 -maxdepth 1 ! -name lib \
            -exec rm -rf {} +
    fi
    "$version/bin/python" -m pip check >/dev/null || [ "$runtime" = executorch ] ||
        fail "what pip installed does not fit together: $version/bin/python -m pip check"
    "$version/bin/python" -m compileall -q "$version/lib" >/dev/null || true
    "$version/bin/pfedfrz" --version >/dev/null || fail "what was installed does not run"
    printf 'runtime=%s\npython=%s\nextras=%s\n' "$runtime" "$python" "${extras:-}" >"$version/.complete"
    sync "$version/.complete"
    mv "$version/.complete" "$version/complete"
}

# Makes `version` unless it is what runs; sets `changed` when it was not.
build_if_not_in_use() {
    if ! is_complete "$version" || [ "$(version_at current)" != "$version" ]; then
        changed=yes
        check_room
        build_version
    fi
}

# What `current` or `previous` points to; nothing when it is not there.
version_at() {
    [ ! -L "$program/$1" ] || readlink -f "$program/$1"
}

# Point a link somewhere else in one step.
switch_link() {
    local target=$1 link=$2
    ln -sfn "$target" "$link.new"
    mv -T "$link.new" "$link"
}

# From here on `version` is what runs; what ran until now is what was before.
switch_version() {
    [ -z "$(version_at current)" ] || switch_link "versions/$(basename "$(version_at current)")" "$program/previous"
    switch_link "versions/$(basename "$version")" "$program/current"
}

# Puts `version` in place, unless it is there already, for good.
use_version() {
    if [ "$(version_at current)" != "$version" ]; then
        switch_version
        remove_other_versions
    fi
}

# The command for people; sets `changed`.
link_command() {
    changed=yes
    install -d -m 0755 "$(dirname "$command_link")"
    switch_link "$program/current/bin/pfedfrz" "$command_link"
}

# Only what is run and what was run before is kept.
remove_other_versions() {
    local folder current previous
    current=$(version_at current)
    previous=$(version_at previous)
    for folder in "$(versions_of)"/*; do
        case $folder in
        "$current" | "$previous") ;;
        *) rm -rf "$folder" ;;
        esac
    done
}

# For traps: what must not be left behind by a script that ends early.
clean_workshop() {
    [ -z "${workshop:-}" ] || rm -rf "$workshop"
    case ${built:-} in
    '' | "$(version_at current)" | "$(version_at previous)") ;;
    *) rm -rf "$built" ;;
    esac
    rmdir "$(versions_of)" "$program" 2>/dev/null || true
}
