#!/bin/sh
# aarch64.sh - builds weft for AArch64 and runs its tests there, on a Python of Debian's, under qemu's emulation.
#
# Job: keep a small Debian system for the other processor in one folder, and run things in it.  qemu runs each
# foreign program on this kernel; the kernel is told to start it for them (binfmt_misc), so that programs can start
# programs, as the tests do all the time.
#
#     tools/aarch64.sh                   the two commands below
#     tools/aarch64.sh book              run the book's program, and compare with this machine's output
#     tools/aarch64.sh test [ARG...]     build, install, run pytest ARG... (default: all that can pass, see below)
#     tools/aarch64.sh run CMD...        run a command inside, in /weft, which is this repository (default: a shell)
#     tools/aarch64.sh remove            delete the folder
#
#     WEFT_AARCH64    the folder    (default: build/aarch64)
#
# Nothing is installed here, and apt's own state is not touched: packages are unpacked, not configured.
# The extension is compiled here, by a cross compiler, against the headers and the libc of the folder.  It takes the
# .venv of the version that Debian has, for meson.
#
# Chroot, mounts and binfmt_misc live in namespaces of the command that needs them, user namespace included, and die
# with it.  So root is not needed, and programs of other users are none the wiser.
#
# tests/aarch64_differences.txt names the tests that fail there and would not on a machine, or on another Python, with reasons.
#
# Needs apt-get, dpkg, unshare, aarch64-linux-gnu-gcc, and Linux 6.7 for a binfmt_misc of one's own.
set -eu

repo=$(cd "$(dirname "$0")/.." && pwd)
folder=${WEFT_AARCH64:-$repo/build/aarch64}
root=$folder/root
qemu=$folder/tools/qemu-aarch64-static
venv=/venv
program=docs/book/green_threads.py

die() {
    echo "aarch64.sh: $*" >&2
    exit 1
}

need() {
    command -v "$1" >/dev/null || die "$1 is missing: Debian's package $2 has it"
}

# --- The folder -----------------------------------------------------------------------------

# apt with lists and packages of its own, for the other processor.
foreign_apt() {
    apt-get -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
        -o Dir::State="$folder/state" -o Dir::State::status="$folder/state/status" \
        -o Dir::Cache="$folder/cache" -o APT::Sandbox::User=root "$@"
}

packages() {
    printf '%s\n' base-files bash coreutils dash gcc grep libc6-dev libpython3-dev procps python3 sed
}

unpack_packages() {
    mkdir -p "$folder/state/lists/partial" "$folder/cache/archives/partial" "$root"
    : >"$folder/state/status"
    foreign_apt --quiet=2 update
    # shellcheck disable=SC2046  # a list of words is what we want
    foreign_apt --quiet=2 --no-install-recommends --yes --download-only install $(packages)
    for package in "$folder"/cache/archives/*.deb; do
        dpkg -x "$package" "$root"
    done
}

# What the packages' own scripts would have seen to.
configure() {
    [ -e "$root/bin/sh" ] || ln -s dash "$root/bin/sh"
    ln -sf gcc "$root/usr/bin/cc"
    for file in passwd group hosts resolv.conf nsswitch.conf protocols services; do
        [ ! -e "/etc/$file" ] || cp -L "/etc/$file" "$root/etc/$file"
    done
    mkdir -p "$root/weft" "$root/proc" "$root/dev" "$root/sys" "$root/tmp"
}

# The emulator, linked statically: it is started where its own libraries are not.
unpack_qemu() {
    mkdir -p "$folder/tools"
    (cd "$folder/tools" && apt-get --quiet=2 -o APT::Sandbox::User=root download qemu-user-static)
    dpkg --fsys-tarfile "$folder"/tools/qemu-user-static_*.deb |
        tar --extract --to-stdout ./usr/bin/qemu-aarch64-static >"$qemu"
    chmod +x "$qemu"
    rm "$folder"/tools/*.deb
}

make_folder() {
    [ ! -e "$folder/complete" ] || return 0
    unpack_packages
    unpack_qemu
    configure
    inside python3 -m venv --without-pip "$venv"
    touch "$folder/complete"
}

# Runs a command inside, in /weft.
inside() {
    unshare --user --map-root-user --mount --pid --fork --kill-child sh -c '
        root=$1 repo=$2 qemu=$3
        shift 3
        mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc || {
            echo "aarch64.sh: no binfmt_misc in a user namespace: that needs Linux 6.7" >&2
            exit 1
        }
        elf="\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00"
        mask="\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff"
        printf "%s" ":weft-aarch64:M::$elf:$mask:$qemu:PF" >/proc/sys/fs/binfmt_misc/register
        mount --rbind "$repo" "$root/weft"
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount --rbind /sys "$root/sys"
        exec chroot "$root" env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 \
            PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1 \
            sh -c "cd /weft; exec \"\$@\"" sh "$@"
    ' sh "$root" "$repo" "$qemu" "$@"
}

# The same Python, where it lies: for who wants its paths as seen from here.
write_cross_file() {
    cat >"$folder/python" <<END
#!/bin/sh
exec "$qemu" -L "$root" "$root/usr/bin/python3" "\$@"
END
    chmod +x "$folder/python"
    cat >"$folder/cross.ini" <<END
[binaries]
c = ['aarch64-linux-gnu-gcc', '--sysroot=$root']
python = '$folder/python'

[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
END
}

# --- weft -------------------------------------------------------------------------------------

foreign_version() {
    inside python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

# pip, run here, for over there.
install_there() {
    "$python" -m pip install --quiet --upgrade --target "$root$venv/lib/python$version/site-packages" \
        --python-version "$version" --implementation cp --only-binary :all: \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 \
        --platform manylinux2014_aarch64 "$@"
}

install_weft() {
    need aarch64-linux-gnu-gcc "gcc-aarch64-linux-gnu with libc6-dev-arm64-cross"
    version=$(foreign_version)
    python=$repo/.venv/$version/bin/python
    make --no-print-directory -C "$repo" ".venv/$version/.tools"
    [ -e "$folder/tools-installed" ] || install_there pip pytest greenlet hypothesis rich
    touch "$folder/tools-installed"
    write_cross_file
    rm -rf "$folder/wheel"
    (cd "$repo" && PATH="$repo/.venv/$version/bin:$PATH" _PYTHON_HOST_PLATFORM=linux-aarch64 \
        "$python" -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir "$folder/wheel" \
        --config-settings=build-dir="$folder/meson" --config-settings=setup-args=-Dwerror=true \
        --config-settings=setup-args=--cross-file="$folder/cross.ini" .)
    cp "$folder"/wheel/*.whl "$root/tmp"
    inside sh -c "$venv/bin/python -m pip install --quiet --no-index --no-deps --force-reinstall /tmp/weft-*.whl"
}

# --- What is run ------------------------------------------------------------------------------

compare() {
    there=$(inside python3 "$program" "$@")
    here=$(python3 "$repo/$program" "$@")
    [ "$there" = "$here" ] || die "green_threads.py $* prints something else on AArch64"
    echo "ok green_threads.py $*"
}

book() {
    inside python3 -c 'import platform; print("CPython", platform.python_version(), platform.machine())'
    compare
    compare nested
}

# Each line of the file is a test, or a part of one's name up to a "*", or a file; lines that begin with # are reasons.
deselected() {
    sed -n 's/^tests/--deselect=tests/p' "$repo/tests/aarch64_differences.txt"
}

# Each file in a process of its own: what one leaves behind in an emulated process (stacks above all) slows
# down all that come after it.
run_files() {
    failed=
    set -f # names of tests have brackets in them
    # shellcheck disable=SC2046  # a list of words is what we want
    set -- $(deselected)
    set +f
    for file in "$repo"/tests/test_*.py "$repo"/tests/conformance/test_*.py; do
        name=${file#"$repo"/}
        case " $* " in *" --deselect=$name "*) continue ;; esac
        log=$folder/${file##*/}.log
        status=0
        inside timeout 600 "$venv/bin/python" -m pytest -q -p no:cacheprovider "$name" "$@" \
            >"$log" 2>&1 || status=$?
        echo "$name: $(tail -n 1 "$log")"
        [ $status -eq 0 ] || failed="$failed $name"
    done
    [ -z "$failed" ] || die "failed, see $folder/*.log:$failed"
}

run_tests() {
    install_weft
    if [ $# -gt 0 ]; then
        inside "$venv/bin/python" -m pytest -p no:cacheprovider "$@"
    else
        run_files
    fi
}

need apt-get apt
need unshare util-linux
verb=${1:-all}
[ $# -eq 0 ] || shift
[ "$verb" = remove ] || make_folder
case $verb in
all) book && run_tests ;;
book) book ;;
test) run_tests "$@" ;;
run) inside "${@:-bash}" ;;
remove) rm -rf --one-file-system "$folder" ;;
*) die "usage: aarch64.sh [book | test [pytest args] | run CMD... | remove]" ;;
esac
