"""Message queues and System V semaphores, through libc as a C library would use them."""

import contextlib
import ctypes
import errno
import os
import time

import pytest
from support import INSTANT_SECONDS, PROMPT_SECONDS, libc, results, settle, spawn_each

import weft

IPC_PRIVATE, IPC_RMID, IPC_NOWAIT = 0, 0, 0o4000
GETNCNT = 14


class Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def timespec(seconds):
    return ctypes.byref(Timespec(int(seconds), int(seconds % 1 * 1e9)))


def checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def errno_of(fn, *args):
    with pytest.raises(OSError) as caught:
        fn(*args)
    return caught.value.errno


# --- POSIX message queues -----------------------------------------------------------------


class Attributes(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_long),
        ("most", ctypes.c_long),
        ("size", ctypes.c_long),
        ("rest", ctypes.c_long * 5),
    )


@pytest.fixture
def queue():
    """The descriptor of a queue of two messages of at most eight bytes."""
    name = f"/weft-test-{os.getpid()}".encode()
    fd = libc.mq_open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600,
                      ctypes.byref(Attributes(0, 2, 8)))  # fmt: skip
    if fd < 0:
        pytest.skip(f"no message queues here: {os.strerror(ctypes.get_errno())}")
    libc.mq_unlink(name)
    yield fd
    os.close(fd)


def receive(queue):
    buf = ctypes.create_string_buffer(8)
    got = checked(libc.mq_receive(queue, buf, ctypes.c_size_t(8), None))
    return buf.raw[:got]


def timed_receive(queue, until):
    buf = ctypes.create_string_buffer(8)
    got = checked(libc.mq_timedreceive(queue, buf, ctypes.c_size_t(8), None, timespec(until)))
    return buf.raw[:got]


def send(queue, message):
    checked(libc.mq_send(queue, message, ctypes.c_size_t(len(message)), 0))


def timed_send(queue, message, until):
    checked(libc.mq_timedsend(queue, message, ctypes.c_size_t(len(message)), 0, timespec(until)))


def test_a_receiver_parks(queue):
    receivers = [weft.spawn(receive, queue) for _ in range(2)]
    settle()
    assert all(receiver.is_alive() for receiver in receivers)
    send(queue, b"one")
    send(queue, b"two")
    assert sorted(results(receivers)) == [b"one", b"two"]


def test_a_sender_parks(queue):
    sender = weft.spawn(lambda: [send(queue, b"%d" % number) for number in range(20)])
    settle()
    assert sender.is_alive()
    assert [receive(queue) for _ in range(20)] == [b"%d" % number for number in range(20)]
    sender.result(PROMPT_SECONDS)


def test_deadlines_of_a_queue(queue, parked):
    assert errno_of(timed_receive, queue, time.time() + INSTANT_SECONDS) == errno.ETIMEDOUT
    assert errno_of(timed_receive, queue, 1) == errno.ETIMEDOUT
    for _ in range(2):
        timed_send(queue, b"x", 1)  # there is room: the deadline does not matter
    assert errno_of(timed_send, queue, b"x", time.time() + INSTANT_SECONDS) == errno.ETIMEDOUT
    assert timed_receive(queue, 1) == b"x"


def test_a_queue_that_shall_not_block(queue, parked):
    os.set_blocking(queue, False)
    assert errno_of(receive, queue) == errno.EAGAIN
    assert errno_of(timed_receive, queue, time.time() + 60) == errno.EAGAIN


def test_what_is_wrong_with_a_queue_is_told(queue, parked):
    assert errno_of(receive, 10**6) == errno.EBADF
    assert errno_of(send, queue, b"far too long") == errno.EMSGSIZE


# --- System V message queues --------------------------------------------------------------


@pytest.fixture
def messages():
    """The number of a System V message queue."""
    number = checked(libc.msgget(IPC_PRIVATE, 0o600))
    yield number
    libc.msgctl(number, IPC_RMID, None)


def msgsnd(number, kind, text, flags=0):
    message = ctypes.create_string_buffer(kind.to_bytes(8, "little") + text)
    checked(libc.msgsnd(number, message, ctypes.c_size_t(len(text)), flags))


def msgrcv(number, kind=0, flags=0):
    buf = ctypes.create_string_buffer(8 + 4096)
    got = checked(libc.msgrcv(number, buf, ctypes.c_size_t(4096), ctypes.c_long(kind), flags))
    return buf.raw[8 : 8 + got]


def test_receivers_of_messages_of_different_kinds(messages):
    receivers = spawn_each(lambda kind: msgrcv(messages, kind), range(1, 51))
    settle()
    assert all(receiver.is_alive() for receiver in receivers)
    for kind in reversed(range(1, 51)):
        msgsnd(messages, kind, b"%d" % kind)
    assert results(receivers) == [b"%d" % kind for kind in range(1, 51)]


def test_a_sender_waits_for_room_among_the_messages(messages, parked):
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            msgsnd(messages, 1, bytes(4096), IPC_NOWAIT)
            sent += 1
    sender = weft.spawn(msgsnd, messages, 2, b"last" * 1000)
    settle()
    assert sender.is_alive()
    for _ in range(sent):
        msgrcv(messages, 1)
    sender.result(PROMPT_SECONDS)
    assert msgrcv(messages, 2) == b"last" * 1000


def test_messages_that_shall_not_be_waited_for(messages, parked):
    assert errno_of(msgrcv, messages, 0, IPC_NOWAIT) == errno.ENOMSG


def test_the_end_of_a_message_queue_wakes_the_receiver(messages):
    receiver = weft.spawn(errno_of, msgrcv, messages)
    settle()
    libc.msgctl(messages, IPC_RMID, None)
    assert receiver.result(PROMPT_SECONDS) in (errno.EIDRM, errno.EINVAL)


# --- System V semaphores ------------------------------------------------------------------


class Operation(ctypes.Structure):
    _fields_ = (("number", ctypes.c_ushort), ("change", ctypes.c_short), ("flags", ctypes.c_short))


@pytest.fixture
def semaphores():
    """The number of a set of two System V semaphores, both 0."""
    number = checked(libc.semget(IPC_PRIVATE, 2, 0o600))
    yield number
    libc.semctl(number, 0, IPC_RMID)


def semop(number, *operations):
    array = (Operation * len(operations))(*operations)
    checked(libc.semop(number, array, ctypes.c_size_t(len(operations))))


def semtimedop(number, seconds, *operations):
    array = (Operation * len(operations))(*operations)
    checked(libc.semtimedop(number, array, ctypes.c_size_t(len(operations)), timespec(seconds)))


def test_waiters_for_a_semaphore(semaphores):
    waiters = spawn_each(lambda _: semop(semaphores, (0, -1, 0)), range(40))
    settle()
    assert all(waiter.is_alive() for waiter in waiters)
    semop(semaphores, (0, 40, 0))
    results(waiters)
    assert libc.semctl(semaphores, 0, GETNCNT) == 0


def test_several_operations_happen_together(semaphores):
    both = weft.spawn(semop, semaphores, (0, -1, 0), (1, -1, 0))
    settle()
    semop(semaphores, (0, 1, 0))
    settle()
    assert both.is_alive()
    semop(semaphores, (1, 1, 0))
    both.result(PROMPT_SECONDS)


def test_some_operations_that_shall_not_wait_and_some_that_may(semaphores, parked):
    assert errno_of(semop, semaphores, (0, -1, IPC_NOWAIT), (1, 1, 0)) == errno.EAGAIN
    semop(semaphores, (0, 1, 0))
    waiter = weft.spawn(semop, semaphores, (0, -1, IPC_NOWAIT), (1, -1, 0))
    settle()
    semop(semaphores, (1, 1, 0))
    waiter.result(PROMPT_SECONDS)


def test_timeouts_of_semaphores(semaphores, parked):
    assert errno_of(semtimedop, semaphores, INSTANT_SECONDS, (0, -1, 0)) == errno.EAGAIN
    semop(semaphores, (0, 1, 0))
    semtimedop(semaphores, INSTANT_SECONDS, (0, -1, 0))
