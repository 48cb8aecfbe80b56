# shellcheck shell=bash
# What the scripts share: the packages, the preset builds. To be sourced after `set -euo pipefail`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# The one list of what the server and the tests are built from, by Debian's names.
# shellcheck disable=SC2034 # used by those who source this
packages=(g++ cmake ninja-build pkg-config catch2 curl
    libcli11-dev libcpp-httplib-dev libfmt-dev libjemalloc-dev librocksdb-dev libsimdjson-dev libspdlog-dev)

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# Installs those of the named packages that are missing; asks the network for nothing when none is.
install_packages() {
    if ! command -v apt-get dpkg-query >/dev/null; then
        say "no apt on this system; the build needs what Debian calls: $*"
        return
    fi
    local missing=() package
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed* ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0

    local as_root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null ||
            { need_root "packages are missing, and you are not root and have no sudo" "${missing[@]}"; return 1; }
        as_root=(sudo)
    fi
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
    say "installing ${missing[*]}"
    # An update may fail for a source that nothing here comes from, so the install decides.
    "${apt[@]}" update >&2 </dev/null || say "apt-get update failed; trying with the package lists at hand"
    "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2 </dev/null ||
        { need_root "apt-get could not install what is missing, see above" "${missing[@]}"; return 1; }
}

# need_root REASON PACKAGE...
need_root() {
    say "$1. Have root run this, and start again:"
    printf '  apt-get update && apt-get install --no-install-recommends %s\n' "${*:2}" >&2
    say "(The headers in include/qsketch alone need nothing but a C++20 compiler.)"
}

# As many compilers at once as there are cores, and as fit into memory at 1.5 GB each.
job_count() {
    local jobs memory limit
    jobs=$(nproc)
    memory=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
    limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || true)
    if [[ $limit =~ ^[0-9]+$ ]] && ((limit / 1048576 < memory)); then memory=$((limit / 1048576)); fi
    if ((memory / 1500 < jobs)); then jobs=$((memory / 1500)); fi
    echo $((jobs > 0 ? jobs : 1))
}

# build_preset PRESET [build options]: configures and builds build/PRESET; all output goes to stderr.
# One at a time, so that several servers may be started at once from a fresh checkout.
build_preset() (
    preset=$1
    shift
    cd "$root" || exit
    mkdir -p "build/$preset"
    exec {lock}>"build/$preset/.lock"
    flock "$lock"
    # A build directory that moved along with its checkout still names the old place.
    if ! grep -qsxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "build/$preset/CMakeCache.txt"; then
        rm -rf "build/$preset/CMakeCache.txt" "build/$preset/CMakeFiles"
    fi
    log=build/$preset/configure.log
    cmake --preset "$preset" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    cmake --build "build/$preset" --parallel "$(job_count)" "$@" >&2
)
