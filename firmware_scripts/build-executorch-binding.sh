#!/bin/sh
# Builds the torch-free binding of the runtime executorch, against an installed executorch wheel.
#
#   firmware_scripts/build-executorch-binding.sh [--python PYTHON] [--output FILE]
#
# It needs g++ 10 or newer and, on the board, only the wheel itself:
#   pip install --no-deps executorch==1.5.1
#
# --python PYTHON  whose executorch is used (default: python3)
# --output FILE    where the library goes (default: beside the wheel's own libraries, where the
#                  runtime looks; elsewhere, name it in PFEDFRZ_EXECUTORCH_BINDING)
#
# To build on another machine for a board, unpack the board's wheel and set
#   CXX=aarch64-linux-gnu-g++ EXECUTORCH=path/of/the/folder/executorch EXECUTORCH_VERSION=1.5.1
set -eu

python=python3
output=
while [ $# -gt 0 ]; do
    case $1 in
    --python)
        python=${2:?--python wants an interpreter}
        shift 2
        ;;
    --output)
        output=${2:?--output wants a file}
        shift 2
        ;;
    -h | --help)
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
        exit 0
        ;;
    *)
        echo "build-executorch-binding: unknown argument $1 (try --help)" >&2
        exit 2
        ;;
    esac
done

fail() {
    echo "build-executorch-binding: $1" >&2
    exit 1
}

package=${EXECUTORCH:-$(
    "$python" - <<'PYTHON'
import importlib.util
spec = importlib.util.find_spec("executorch")
print(next(iter(spec.submodule_search_locations)) if spec else "")
PYTHON
)}
[ -n "$package" ] || fail "$python has no executorch: run $python -m pip install --no-deps executorch==1.5.1"
version=${EXECUTORCH_VERSION:-$("$python" -c '
from importlib.metadata import version
print(version("executorch").partition("+")[0])')}
compiler=${CXX:-g++}
command -v "$compiler" >/dev/null || fail "no compiler $compiler: install g++ (apt-get install g++)"
[ -e "$package/lib/libexecutorch.so" ] || fail "$package/lib holds no libexecutorch.so: install executorch again, 1.5.1 or newer"

source=$(dirname "$0")/../edge_client/pfedfrz_edge/runtimes/executorch_binding.cpp
# Without a checkout around this script: from the package that this Python has.
[ -e "$source" ] || source=$("$python" -c '
import importlib.util
spec = importlib.util.find_spec("pfedfrz_edge")
print(next(iter(spec.submodule_search_locations)) if spec else "")')/runtimes/executorch_binding.cpp
[ -e "$source" ] || fail "$source is not there: give --python an interpreter that has pfedfrz"
output=${output:-$package/lib/libpfedfrz_executorch.so}
include=$package/include
unfinished=$output.$$
trap 'rm -f "$unfinished"' EXIT

# --no-as-needed: kernels and backends are reached by registering themselves, not by name.
# --disable-new-dtags: their own libraries are then found along the same path.
"$compiler" -std=c++20 -O2 -fPIC -shared -fvisibility=default \
    -DC10_USING_CUSTOM_GENERATED_MACROS -DPFEDFRZ_EXECUTORCH_VERSION="\"$version\"" \
    -isystem "$include" -isystem "$include/executorch/runtime/core/portable_type/c10" \
    "$source" -o "$unfinished" \
    -L "$package/lib" -Wl,--no-as-needed \
    -lexecutorch -lexecutorch_kernels_optimized -lexecutorch_backend_xnnpack -lexecutorch_threadpool \
    -Wl,--disable-new-dtags "-Wl,-rpath,\$ORIGIN:$package/lib"
mv "$unfinished" "$output"
trap - EXIT
echo "$output"
