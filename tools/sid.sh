#!/bin/sh
# sid.sh - runs the tests on CPython 3.14 and 3.15, taken from Debian's unstable suite.
#
# Job: keep a Debian sid system in one folder and run things in it with chroot.  The interpreters
# that a stable distribution does not carry yet come from there, with headers and without a build
# of ours.
#
#     tools/sid.sh make             build the folder, or bring it up to date; does nothing when done
#     tools/sid.sh test             copy the repository in, install it; on each version pytest, and
#                                   CPython's own test modules as `make test` runs them
#     tools/sid.sh test ARG...      the same, but pytest ARG... alone
#     tools/sid.sh copy             copy the repository to /weft inside
#     tools/sid.sh run CMD...       run a command inside, in /weft (default: an interactive shell)
#     tools/sid.sh remove           delete the folder
#
#     WEFT_SID           the folder                          (default: build/sid)
#     WEFT_SID_PYTHONS   the versions to install and test    (default: "3.14 3.15")
#     WEFT_SID_MIRROR    a Debian mirror                     (default: the one apt uses here)
#
# Needs root and debootstrap.
#
# Everything Python inside comes from Debian packages, pytest and the build backend too, so the
# folder needs a Debian mirror and nothing else: no pip index, no network at test time.
#
# The mounts (/proc, /dev, /sys) live in a mount namespace of the command that needs them and die
# with it, so nothing is ever left mounted in the folder and removing it is safe.
set -eu

repo=$(cd "$(dirname "$0")/.." && pwd)
sid=${WEFT_SID:-$repo/build/sid}
pythons=${WEFT_SID_PYTHONS:-3.14 3.15}

die() {
    echo "sid.sh: $*" >&2
    exit 1
}

# The first repository of Debian's own that apt is configured with (not the security one).
mirror() {
    if [ -n "${WEFT_SID_MIRROR:-}" ]; then
        echo "$WEFT_SID_MIRROR"
        return
    fi
    apt-get indextargets --format '$(LABEL) $(REPO_URI)' |
        awk '$1 == "Debian" { print $2; exit }'
}

packages() {
    printf '%s\n' ca-certificates gcc libc6-dev make meson ninja-build pkgconf gdb \
        python3-greenlet python3-hypothesis python3-mesonpy python3-pytest python3-pytest-timeout \
        python3-rich python3-setuptools python3-wheel
    for version in $pythons; do
        printf '%s\n' "python$version-dev" "python$version-venv" "libpython$version-testsuite"
    done
}

# Runs a command inside with /proc, /dev and /sys in place, in /weft when that exists.
inside() {
    unshare --mount --propagation private sh -c '
        sid=$1
        shift
        mount -t proc proc "$sid/proc"
        mount --rbind /dev "$sid/dev"
        mount --rbind /sys "$sid/sys"
        cp /etc/hosts "$sid/etc/hosts"
        cp -L /etc/resolv.conf "$sid/etc/resolv.conf"
        exec chroot "$sid" env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 \
            PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
            sh -c "[ ! -d /weft ] || cd /weft; exec \"\$@\"" sh "$@"
    ' sh "$sid" "$@"
}

bootstrap() {
    command -v debootstrap >/dev/null || die "debootstrap is missing (apt-get install debootstrap)"
    url=$(mirror)
    [ -n "$url" ] || die "apt names no Debian mirror; set WEFT_SID_MIRROR"
    mkdir -p "$sid"
    debootstrap --variant=minbase sid "$sid" "$url"
    # The host may use a frozen mirror whose Release file is past its date.
    apt-config dump Acquire::Check-Valid-Until >"$sid/etc/apt/apt.conf.d/90host"
    apt-config dump Acquire::Check-Date >>"$sid/etc/apt/apt.conf.d/90host"
    touch "$sid/.weft-bootstrapped"
}

make_sid() {
    [ "$(id -u)" = 0 ] || die "chroot needs root"
    [ -e "$sid/.weft-bootstrapped" ] || bootstrap
    touch "$sid/.weft-packages"
    missing=$(packages | grep --line-regexp --fixed-strings --invert-match \
        --file="$sid/.weft-packages" || true)
    if [ -n "$missing" ]; then
        inside apt-get update
        # shellcheck disable=SC2086  # a list of words is what we want
        inside apt-get install --yes --no-install-recommends $missing
        inside apt-get clean
        echo "$missing" >>"$sid/.weft-packages"
    fi
}

# What git would put into a commit now: tracked files and new ones, without anything ignored.
copy_repo() {
    rm -rf "$sid/weft"
    mkdir -p "$sid/weft"
    (cd "$repo" && git ls-files -z --cached --others --exclude-standard |
        xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' sh |
        tar --null --files-from=- --create --file=-) |
        tar --extract --file=- --directory="$sid/weft" --no-same-owner
}

# A fresh environment per run: it takes seconds, and a stale one would test yesterday's build.
# The && chain, because `set -e` is off in a function whose result is asked for.
test_one() {
    version=$1
    shift
    echo "== CPython $version (sid)"
    inside rm -rf "/venv/$version" &&
        inside "python$version" -m venv --system-site-packages "/venv/$version" &&
        inside "/venv/$version/bin/python" -m pip install --quiet --no-index --no-deps \
            --no-build-isolation --config-settings=setup-args=-Dwerror=true /weft || return 1
    if [ $# -gt 0 ]; then
        inside "/venv/$version/bin/python" -m pytest "$@"
    else
        test_all "/venv/$version/bin/python"
    fi
}

# To the end, whatever fails: it takes long, and one wants to see all of it.
test_all() {
    passed=true
    inside "$1" -m pytest || passed=false
    inside "$1" tools/cpython_tests.py default --jobs 2 || passed=false
    inside "$1" tools/cpython_tests.py short --mode run --jobs 2 || passed=false
    $passed
}

test_sid() {
    make_sid
    copy_repo
    failed=
    for version in $pythons; do
        test_one "$version" "$@" || failed="$failed $version"
    done
    [ -z "$failed" ] || die "failed on:$failed"
}

verb=${1:-}
[ $# -eq 0 ] || shift
case $verb in
make) make_sid ;;
test) test_sid "$@" ;;
copy) make_sid && copy_repo ;;
run) make_sid && inside "${@:-bash}" ;;
remove) rm -rf --one-file-system "$sid" ;;
*) die "usage: sid.sh make | test [pytest args] | copy | run CMD... | remove" ;;
esac
