"""Opening a named pipe waits for the other end, and for that one green thread only."""

import ctypes
import errno
import os

import pytest
from support import PROMPT_SECONDS, libc, settle, together

import weft

AT_FDCWD = -100


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return str(path)


def open_and_close(path, flags):
    fd = os.open(path, flags)
    os.close(fd)
    return fd >= 0


def in_folder(path, flags):
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        return os.close(os.open(os.path.basename(path), flags, dir_fd=folder)) is None
    finally:
        os.close(folder)


def by_ctypes(name):
    """Through libc's function of that name, as a C library would; `creat` is always for writing."""

    def call(path, flags):
        function, encoded = getattr(libc, name), os.fsencode(path)
        if name.startswith("creat"):
            fd = function(encoded, 0o600)
        elif "openat" in name:
            fd = function(AT_FDCWD, encoded, flags)
        else:
            fd = function(encoded, flags)
        return os.close(fd) is None

    return call


NAMES = "open open64 openat openat64 __open_2 __open64_2 __openat_2 __openat64_2".split()
READERS = {"os.open": open_and_close, "in a folder": in_folder} | {
    name: by_ctypes(name) for name in NAMES
}
WRITERS = READERS | {name: by_ctypes(name) for name in ("creat", "creat64")}


@pytest.mark.parametrize("way", READERS)
def test_a_reader_waits_for_a_writer(fifo, way):
    reader = weft.spawn(READERS[way], fifo, os.O_RDONLY)
    settle()
    assert reader.is_alive()
    assert weft.spawn(open_and_close, fifo, os.O_WRONLY).result(PROMPT_SECONDS)
    assert reader.result(PROMPT_SECONDS)


@pytest.mark.parametrize("way", WRITERS)
def test_a_writer_waits_for_a_reader(fifo, way):
    writer = weft.spawn(WRITERS[way], fifo, os.O_WRONLY)
    settle()
    assert writer.is_alive()
    assert weft.spawn(open_and_close, fifo, os.O_RDONLY).result(PROMPT_SECONDS)
    assert writer.result(PROMPT_SECONDS)


def test_the_main_green_thread_waits_as_well(fifo):
    def write():
        with open(fifo, "w") as file:
            file.write("argh")

    writer = weft.spawn(write)
    with open(fifo) as file:
        assert file.read() == "argh"
    writer.join()


def test_through_a_symbolic_link(fifo, tmp_path):
    link = str(tmp_path / "link")
    os.symlink(fifo, link)
    reader = weft.spawn(open_and_close, link, os.O_RDONLY)
    settle()
    assert reader.is_alive()
    assert together(lambda: open_and_close(link, os.O_WRONLY)) == [True]
    assert reader.result(PROMPT_SECONDS)


def test_opens_that_need_not_wait(fifo, parked):
    before = weft.statistics().offloads
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.close(reader)
    with pytest.raises(OSError) as caught:
        os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    assert caught.value.errno == errno.ENXIO
    os.close(os.open(fifo, os.O_RDWR))
    with pytest.raises(FileExistsError):
        os.open(fifo, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    assert weft.statistics().offloads == before


def test_what_is_wrong_is_told(tmp_path, parked):
    with pytest.raises(FileNotFoundError):
        os.open(tmp_path / "none", os.O_RDONLY)
    with pytest.raises(IsADirectoryError):
        os.open(tmp_path, os.O_WRONLY)
    fd = libc.open(None, os.O_RDONLY)
    assert (fd, ctypes.get_errno()) == (-1, errno.EFAULT)


def test_errno_is_left_alone(tmp_path, parked):
    ctypes.set_errno(77)
    fd = libc.open(os.fsencode(tmp_path / "new"), os.O_WRONLY | os.O_CREAT, 0o640)
    assert fd >= 0
    assert ctypes.get_errno() == 77
    assert os.fstat(fd).st_mode & 0o777 == 0o640 & ~current_umask()
    os.close(fd)


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
