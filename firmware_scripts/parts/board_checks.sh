# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by the scripts beside this folder. What must hold before anything is changed; each fault is
# one line, and nothing here writes.

check_system() {
    local ID='' VERSION_ID='' PRETTY_NAME='' file=/etc/os-release
    [ -r "$file" ] || fail "$file cannot be read: want Debian or Raspberry Pi OS 12 or 13, or Ubuntu 22.04"
    # shellcheck source=/dev/null
    . "$file"
    case $ID-$VERSION_ID in
    debian-12 | debian-13 | raspbian-12 | raspbian-13 | ubuntu-22.04) ;;
    *) fail "this is ${PRETTY_NAME:-$ID $VERSION_ID}: want Debian or Raspberry Pi OS 12 or 13, or Ubuntu 22.04" ;;
    esac
    command -v systemctl >/dev/null || fail "systemd is not here, which would run it: apt-get install systemd"
}

# The programs' architecture: a 64-bit kernel may run a 32-bit system, which has no wheels.
check_architecture() {
    architecture=$(dpkg --print-architecture)
    case $architecture in
    amd64 | arm64) ;;
    *) fail "this system is $architecture: want a 64-bit one, arm64 or amd64 (Raspberry Pi OS: the 64-bit image)" ;;
    esac
}

check_python() {
    local found
    found=$(command -v "$python") || fail "there is no $python: apt-get install python3 python3-venv, or name one with --python"
    python=$found
    python_version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') ||
        fail "$python does not run: name another with --python"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$python is Python $python_version: want 3.10 or newer, name one with --python"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments: apt-get install python3-venv"
}

check_runtime() {
    case $runtime in
    none | onnxruntime | torch) ;;
    executorch)
        command -v "${CXX:-g++}" >/dev/null ||
            fail "the runtime executorch is built against its wheel: apt-get install g++"
        ;;
    onnxruntime-training)
        [ "$architecture" = amd64 ] ||
            fail "there is no onnxruntime-training for $architecture: take --runtime onnxruntime"
        "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 13))' ||
            fail "there is no onnxruntime-training for Python $python_version (want 3.10 to 3.12): take --runtime onnxruntime"
        ;;
    *) usage_error "unknown runtime $runtime: want onnxruntime, executorch, torch or onnxruntime-training" ;;
    esac
}

# Room for a version of the programs: what pip unpacks, beside what it installs.
check_room() {
    local needed_mib
    case $runtime-$architecture in
    none-*) needed_mib=300 ;;
    torch-amd64) needed_mib=3500 ;;
    torch-*) needed_mib=9000 ;;
    executorch-*) needed_mib=900 ;;
    *) needed_mib=700 ;;
    esac
    require_room /opt "$needed_mib"
}

require_room() {
    local free_mib
    free_mib=$(df --output=avail --block-size=1M "$1" | tail -n 1 | tr -d ' ')
    [ "$free_mib" -ge "$2" ] || fail "$1 has $free_mib MiB free, $2 are needed: make room"
}
