"""Policies: which libraries' calls park.  And libraries loaded late, from their first call on."""

import ctypes
import shutil
import subprocess
import sysconfig
import threading

import pytest
from support import results, run_program

import weft
from weft import _core

# nap and get end in a jump: of the library that calls, no trace is left on the stack.  The others
# must not, since ld.so looks for one.
LIBRARY = """
#define _GNU_SOURCE
#ifdef __aarch64__
#define FIRST_VERSION "GLIBC_2.17"
#else
#define FIRST_VERSION "GLIBC_2.2.5"
#endif
#include <dlfcn.h>
#include <unistd.h>

int nap(unsigned microseconds) { return usleep(microseconds); }
long get(int fd, void *bytes, unsigned long size) { return read(fd, bytes, size); }

static void *volatile answer;
int only_here(void) { return 17; }
void *by_default(const char *name) { return answer = dlsym(RTLD_DEFAULT, name); }
void *by_version(const char *name) { return answer = dlvsym(RTLD_DEFAULT, name, FIRST_VERSION); }
void *load(const char *name) { return answer = dlopen(name, RTLD_NOW); }
"""

# Whether a call parked is read from who ran first.
pytestmark = pytest.mark.usefixtures("cooperative")

NAP_US = 500
BINDINGS = {"lazy": "-Wl,-z,lazy,-z,norelro", "now": "-Wl,-z,relro,-z,now"}


def compile_library(folder, *options):
    cc = shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]) or shutil.which("cc")
    if cc is None:
        pytest.skip("no C compiler to make a library with")
    source, library = folder / "library.c", folder / "library.so"
    source.write_text(LIBRARY)
    subprocess.run([cc, "-O2", "-shared", "-fPIC", *options, "-o", library, source], check=True)
    return library


@pytest.fixture(scope="module", params=BINDINGS)
def library(request, tmp_path_factory):
    """A compiled library, to be copied under a name of its own by each test."""
    return compile_library(tmp_path_factory.mktemp(request.param), BINDINGS[request.param])


@pytest.fixture
def copy(library, tmp_path):
    def copy(name):
        return shutil.copy(library, tmp_path / name)

    return copy


@pytest.fixture(autouse=True)
def hooked():
    weft.spawn(int).join()  # the hooks are on
    yield
    weft.set_policy("policy_*", "park")


def order_of(call):
    """Who is done first: `call`, made in a green thread, or one that was spawned after it?"""
    record = []
    caller = weft.spawn(lambda: (call(), record.append("call")))
    other = weft.spawn(record.append, "other")
    results([caller, other])
    return record


PARKED, BLOCKED = ["other", "call"], ["call", "other"]


def nap(library):
    return order_of(lambda: library.nap(NAP_US))


def told_of(path):
    (told,) = [told for told in _core._hooked_objects() if told[0] == str(path)]
    return told[1:]


# --- Policies ------------------------------------------------------------------------------


def test_a_library_parks(copy):
    assert nap(ctypes.CDLL(copy("policy_park.so"))) == PARKED


def test_excluded_before_it_is_loaded(copy):
    weft.set_policy("policy_*", "exclude")
    path = copy("policy_before.so")
    library = ctypes.CDLL(path)
    assert nap(library) == BLOCKED
    assert nap(library) == BLOCKED
    assert told_of(path) == (0, "exclude", [])


def test_excluded_while_it_is_loaded_and_taken_back(copy):
    library = ctypes.CDLL(copy("policy_loaded.so"))
    for _ in range(2):
        assert nap(library) == PARKED
        weft.set_policy("policy_l*.so", "exclude")
        assert nap(library) == BLOCKED
        weft.set_policy("policy_l*.so", "park")


def test_others_are_not_excluded(copy):
    weft.set_policy("policy_ex*", "exclude")
    excluded, other = ctypes.CDLL(copy("policy_ex.so")), ctypes.CDLL(copy("policy_other.so"))
    assert (nap(excluded), nap(other)) == (BLOCKED, PARKED)


def test_release_only(copy):
    weft.set_policy("policy_*", "release-only")
    path = copy("policy_release.so")
    assert nap(ctypes.CDLL(path)) == PARKED
    assert nap(ctypes.PyDLL(path)) == BLOCKED  # PyDLL: with the GIL held
    weft.set_policy("policy_*", "park")
    assert nap(ctypes.PyDLL(path)) == PARKED


def test_release_only_passes_arguments_and_result(copy, pair):
    weft.set_policy("policy_*", "release-only")
    library = ctypes.CDLL(copy("policy_arguments.so"))
    buffer = ctypes.create_string_buffer(8)
    reader = weft.spawn(library.get, pair[0].fileno(), buffer, ctypes.c_ulong(5))
    weft.yield_now()
    pair[1].send(b"weft, and more")
    assert reader.result() == 5
    assert buffer.raw == b"weft,\0\0\0"


def test_grpc_is_excluded_from_the_start(copy):
    assert nap(ctypes.CDLL(copy("cygrpc.cpython-311-x86_64-linux-gnu.so"))) == BLOCKED


def test_the_interpreter_has_no_policy():
    weft.set_policy("*python3*", "exclude")
    sleeping = order_of(lambda: weft.sleep(0.0005))
    locking = order_of(lambda: threading.Lock().acquire() and threading.Event().wait(0.0005))
    weft.set_policy("*python3*", "park")
    assert (sleeping, locking) == (PARKED, PARKED)


@pytest.mark.parametrize(
    ("pattern", "policy"),
    [("libx*", "never"), ("", "park"), ("/usr/lib/libx.so", "park"), ("lib\0x", "park")],
)
def test_wrong_rules_are_refused(pattern, policy):
    with pytest.raises(ValueError, match=r"policy|pattern|null"):
        weft.set_policy(pattern, policy)


def test_wrong_types_are_refused():
    with pytest.raises(TypeError):
        weft.set_policy(b"libx*", 1)


def test_a_policy_set_before_install_and_after_uninstall(copy):
    path = copy("policy_program.so")
    program = f"""
import ctypes
weft.set_preemption(None)
def order():
    record = []
    green = [weft.spawn(lambda: (library.nap({NAP_US}), record.append("call"))),
             weft.spawn(record.append, "other")]
    [thread.join() for thread in green]
    return " ".join(record)
library = ctypes.CDLL({str(path)!r})
weft.set_policy("policy_program.so", "exclude")
print(order())
weft.uninstall()
weft.set_policy("policy_program.so", "park")
print(order())
weft.uninstall()
print(library.nap(1), len([o for o in weft._core._hooked_objects() if o[1]]))
"""
    assert run_program(program) == (0, "call other\nother call\n0 0\n", "")


def test_a_forked_child_can_set_policies(copy):
    program = f"""
import ctypes
weft.spawn(int).join()
if os.fork() == 0:
    weft.set_policy("policy_*", "exclude")
    library = ctypes.CDLL({str(copy("policy_child.so"))!r})
    library.nap(1)
    print([o[1:3] for o in weft._core._hooked_objects() if "policy_child" in o[0]], flush=True)
    os._exit(0)
os.wait()
"""
    assert run_program(program) == (0, "[(0, 'exclude')]\n", "")


# --- Libraries loaded late ---------------------------------------------------------------------


def test_a_library_found_by_the_search_path_of_its_loader(tmp_path):
    """ld.so tells by the return address whose RUNPATH counts."""
    (tmp_path / "sub").mkdir()
    inner = compile_library(tmp_path / "sub")
    inner.rename(inner.with_name("policy_inner.so"))
    outer = compile_library(tmp_path, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/sub")
    library = ctypes.CDLL(outer.rename(outer.with_name("policy_outer.so")))
    library.load.restype = ctypes.c_void_p
    with pytest.raises(OSError, match="cannot open"):
        ctypes.CDLL("policy_inner.so")
    assert library.load(b"policy_inner.so")
    assert told_of(tmp_path / "sub" / "policy_inner.so")


def test_a_library_sees_its_own_symbols(copy):
    """ld.so tells by the return address what RTLD_DEFAULT means."""
    library = ctypes.CDLL(copy("policy_local.so"))
    library.by_default.restype = ctypes.c_void_p
    assert library.by_default(b"only_here") == ctypes.cast(library.only_here, ctypes.c_void_p).value
    assert not ctypes.CDLL(copy("policy_else.so")).by_default(b"policy_nowhere")


def test_lookup_by_version_finds_the_hook(copy):
    library = ctypes.CDLL(copy("policy_version.so"))
    library.by_default.restype = library.by_version.restype = ctypes.c_void_p
    assert library.by_default(b"usleep") == library.by_version(b"usleep")


def test_many_os_threads_load_at_once(copy):
    weft.set_policy("policy_out_*", "exclude")
    paths = [copy(f"policy_{kind}_{n}.so") for n in range(8) for kind in ("in", "out")]

    def load(path):
        ctypes.CDLL(path).nap(1)

    threads = [threading.Thread(target=load, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [told_of(path) for path in paths]
    assert [slots > 0 for slots, _, _ in told] == [True, False] * 8


# --- What is told ------------------------------------------------------------------------------


def test_what_is_told_of_a_library(copy):
    path = copy("policy_told.so")
    ctypes.CDLL(path).nap(1)
    slots, policy, names = told_of(path)
    assert (slots, policy) == (4, "park")
    assert sorted(names) == ["dlsym", "dlvsym", "read", "usleep"]


def test_what_is_told_of_the_others():
    told = _core._hooked_objects()
    exempt = sorted(policy for _, _, policy, _ in told if policy.startswith("exempt: "))
    assert exempt == ["exempt: ld.so", "exempt: libc", "exempt: weft itself"]
    assert told_of(_core.__file__) == (0, "exempt: weft itself", [])
    python = [names for *_, names in told if "pthread_create" in names]
    assert len(python) == 1  # the interpreter, and nobody else
    hooked = sum(slots > 0 for _, slots, *_ in told)
    assert hooked == weft.statistics().hooked_objects


def test_symbols_told():
    told = _core._hooked_symbols()
    assert ("recv", "all", True) in told
    assert ("pthread_self", "python", True) in told
    assert ("pthread_mutex_lock", "library", True) in told
    assert len(told) == len({(name, kind) for name, kind, _ in told})
