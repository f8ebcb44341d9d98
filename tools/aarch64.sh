#!/bin/sh
# aarch64.sh - runs the book's program on AArch64, on a Python of Debian's, under qemu's emulation.
#
# Job: show that docs/book/green_threads.py prints there what it prints here.  qemu-user runs one
# foreign program on this kernel, so all it takes is that program and its libraries, unpacked from
# Debian's packages into a folder; nothing is installed, and apt's own state is not touched.
#
#     tools/aarch64.sh            run it, both programs, and compare with this machine's output
#     tools/aarch64.sh ARG...     run the AArch64 Python with these arguments
#
#     WEFT_AARCH64    the folder    (default: build/aarch64)
#
# Needs apt-get, dpkg and qemu-aarch64 (Debian's package qemu-user).
#
# weft itself is not built there: what is missing for it is in docs/platforms.md.
set -eu

repo=$(cd "$(dirname "$0")/.." && pwd)
folder=${WEFT_AARCH64:-$repo/build/aarch64}
program=$repo/docs/book/green_threads.py

die() {
    echo "aarch64.sh: $*" >&2
    exit 1
}

# apt with lists and packages of its own, for the other processor.
foreign_apt() {
    apt-get -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
        -o Dir::State="$folder/state" -o Dir::State::status="$folder/state/status" \
        -o Dir::Cache="$folder/cache" -o APT::Sandbox::User=root "$@"
}

fetch() {
    mkdir -p "$folder/state/lists/partial" "$folder/cache/archives/partial" "$folder/root"
    : >"$folder/state/status"
    foreign_apt --quiet=2 update
    foreign_apt --quiet=2 --no-install-recommends --yes --download-only install python3-minimal \
        python3
    for package in "$folder"/cache/archives/*.deb; do
        dpkg -x "$package" "$folder/root"
    done
    touch "$folder/complete"
}

foreign_python() {
    qemu-aarch64 -L "$folder/root" "$folder/root/usr/bin/python3" "$@"
}

compare() {
    there=$(foreign_python "$program" "$@")
    here=$(python3 "$program" "$@")
    [ "$there" = "$here" ] || die "green_threads.py $* prints something else on AArch64"
    echo "ok green_threads.py $*"
}

command -v qemu-aarch64 >/dev/null || die "qemu-aarch64 is missing: Debian's package qemu-user has it"
[ -e "$folder/complete" ] || fetch
if [ $# -gt 0 ]; then
    foreign_python "$@"
else
    foreign_python -c 'import platform; print("CPython", platform.python_version(), platform.machine())'
    compare
    compare nested
fi
