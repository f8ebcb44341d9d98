"""Regular files: what must come from the disk is read whole, and nobody else waits for it."""

import ctypes
import errno
import mmap
import os
import random

import pytest
from support import PROMPT_SECONDS, libc, results, spawn_each

import weft

BIG = 2**20 + 4321


@pytest.fixture
def data():
    return random.Random(8).randbytes(BIG)


@pytest.fixture
def cold(tmp_path, data):
    """The descriptor of a file that is not in memory."""
    path = tmp_path / "file"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    yield fd
    os.close(fd)


def vector(size, pieces):
    chance = random.Random(pieces)
    cuts = sorted(chance.randrange(size) for _ in range(pieces - 1))
    return [bytearray(b - a) for a, b in zip([0, *cuts], [*cuts, size], strict=True)]


def gather(read, fd, buffers, *more):
    got = read(fd, buffers, *more)
    return b"".join(buffers)[:got]


def by_read(fd, count, offset):
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, count)


def by_readv(fd, count, offset):
    os.lseek(fd, offset, os.SEEK_SET)
    return gather(os.readv, fd, vector(count, 5))


def by_libc(name):
    def read(fd, count, offset):
        buf = ctypes.create_string_buffer(count)
        function = getattr(libc, name)
        function.restype = ctypes.c_ssize_t
        more = (ctypes.c_size_t(count),) if name.endswith("chk") else ()
        got = function(fd, buf, ctypes.c_size_t(count), ctypes.c_long(offset), *more)
        return buf.raw[:got]

    return read


WAYS = {
    "read": by_read,
    "readv": by_readv,
    "os.pread": os.pread,
    "preadv": lambda fd, count, offset: gather(os.preadv, fd, vector(count, 5), offset),
    "pread": by_libc("pread"),
    "pread64": by_libc("pread64"),
    "__pread_chk": by_libc("__pread_chk"),
    "__pread64_chk": by_libc("__pread64_chk"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("offset", [0, 5000, BIG - 10, BIG, BIG + 10])
def test_a_read_is_whole_though_the_file_is_not_in_memory(cold, data, way, offset):
    expected = data[offset : offset + 300_000]
    assert weft.spawn(WAYS[way], cold, 300_000, offset).result(PROMPT_SECONDS) == expected


@pytest.mark.parametrize("way", WAYS)
def test_a_read_is_whole_though_only_a_part_is_in_memory(cold, data, way):
    os.posix_fadvise(cold, 0, 0, os.POSIX_FADV_RANDOM)  # reads nothing ahead
    os.pread(cold, 4096, 0)
    os.pread(cold, 4096, 8 * 4096)
    assert weft.spawn(WAYS[way], cold, BIG + 1, 0).result(PROMPT_SECONDS) == data


def test_many_read_from_one_cold_file(cold, data):
    def read(number):
        offset = number * 7919
        return os.pread(cold, 5000, offset) == data[offset : offset + 5000]

    assert all(results(spawn_each(read, range(100))))


def test_the_position_moves_by_what_was_read(cold, data, parked):
    assert os.read(cold, 1000) == data[:1000]
    assert os.lseek(cold, 0, os.SEEK_CUR) == 1000
    assert os.pread(cold, 10, 50) == data[50:60]
    assert os.lseek(cold, 0, os.SEEK_CUR) == 1000


def test_what_is_in_memory_costs_no_os_thread(cold, data, parked):
    os.read(cold, BIG)
    before = weft.statistics().offloads
    assert os.pread(cold, BIG, 0) == data
    assert os.pread(cold, 100, BIG - 10) == data[-10:]
    assert os.pread(cold, 100, BIG) == b""
    assert weft.statistics().offloads == before


def test_what_is_wrong_is_told(cold, pipe, parked):
    def errno_of(*args):
        with pytest.raises(OSError) as caught:
            os.pread(*args)
        return caught.value.errno

    assert errno_of(cold, 10, -1) == errno.EINVAL
    assert errno_of(pipe[0], 10, 0) == errno.ESPIPE
    assert errno_of(10**6, 10, 0) == errno.EBADF


def test_files_made_up_by_the_kernel(parked):
    before = weft.statistics().offloads
    fd = os.open("/proc/self/stat", os.O_RDONLY)
    assert os.pread(fd, 1000, 0).startswith(str(os.getpid()).encode())
    os.close(fd)
    assert weft.statistics().offloads == before


def test_databases(tmp_path):
    sqlite3 = pytest.importorskip("sqlite3")
    path = tmp_path / "database"

    def execute(statement, *values):
        connection = sqlite3.connect(path, timeout=PROMPT_SECONDS)
        with connection:
            rows = connection.execute(statement, values).fetchall()
        connection.close()
        return rows

    execute("create table numbers (n)")
    results(spawn_each(lambda n: execute("insert into numbers values (?)", n), range(20)))
    assert execute("select sum(n) from numbers") == [(190,)]


# --- Flushing -----------------------------------------------------------------------------


def test_each_flush_runs_on_an_os_thread(cold, parked):
    with mmap.mmap(cold, 4096) as memory:
        flushes = {
            "fsync": lambda: os.fsync(cold),
            "fdatasync": lambda: os.fdatasync(cold),
            "sync": os.sync,
            "syncfs": lambda: libc.syncfs(cold),
            "sync_file_range": lambda: libc.sync_file_range(cold, 0, 0, 7),
            "msync": memory.flush,
        }
        for name, flush in flushes.items():
            memory[0] = len(name)
            before = weft.statistics().offloads
            assert not flush(), name
            assert weft.statistics().offloads == before + 1, name


def test_flushes_that_fail(parked):
    with pytest.raises(OSError) as caught:
        os.fsync(10**6)
    assert caught.value.errno == errno.EBADF
