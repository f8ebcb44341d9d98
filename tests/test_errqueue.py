"""OpenSSL's error queue: each green thread has its own, as each OS thread has."""

import _ssl
import contextlib
import ctypes
import ssl
import threading

import pytest
from support import (
    NO_FORK_WARNING,
    PROMPT_SECONDS,
    results,
    run_program,
    settle,
    spawn_each,
    starts,
)

import weft

crypto = ctypes.CDLL(_ssl.__file__)  # finds what _ssl was linked with
crypto.ERR_peek_error.restype = crypto.ERR_get_error.restype = ctypes.c_ulong


def fail(reason):
    """Put an error on the queue, as a function of OpenSSL would."""
    crypto.ERR_new()
    crypto.ERR_set_error(ctypes.c_int(1), ctypes.c_int(reason), None)


def errors():
    """Empty the queue, and return the reasons, oldest first."""
    reasons = []
    while code := crypto.ERR_get_error():
        reasons.append(code & 0x7FFFFF)
    return reasons


@pytest.fixture(autouse=True)
def _hooks():
    weft.spawn(int).join()


@starts
def test_errors_survive_a_park(start):
    gate = threading.Event()

    def run(number):
        before = errors()
        for reason in range(number, number + 3):
            fail(reason)
        gate.wait()
        return before, errors()

    waits = [start(run, number) for number in (100, 200, 300)]
    gate.set()
    assert [wait() for wait in waits] == [
        ([], [100, 101, 102]),
        ([], [200, 201, 202]),
        ([], [300, 301, 302]),
    ]


def test_the_root_has_its_own():
    fail(1)
    assert weft.spawn(lambda: (errors(), fail(2))).result()[0] == []
    assert errors() == [1]


@starts
def test_marks_survive_a_park(start):
    gate = threading.Event()

    def run(number):
        fail(number)
        crypto.ERR_set_mark()
        gate.wait()
        fail(number + 1)
        crypto.ERR_pop_to_mark()
        return errors()

    waits = [start(run, number) for number in (100, 200)]
    gate.set()
    assert [wait() for wait in waits] == [[100], [200]]


def test_nothing_is_left_to_the_next():
    results(spawn_each(fail, range(1, 50)))
    assert results(spawn_each(lambda _: errors(), range(100))) == [[]] * 100


def test_queues_are_used_again():
    crypto.ERR_get_state.restype = ctypes.c_void_p
    seen = {weft.spawn(crypto.ERR_get_state).result() for _ in range(50)}
    assert len(seen) == 1
    assert crypto.ERR_get_state() not in seen


def test_many_at_once():
    gate = threading.Event()

    def run(number):
        fail(number)
        gate.wait()
        return errors()

    threads = spawn_each(run, range(1, 1001))
    settle()
    gate.set()
    assert results(threads) == [[number] for number in range(1, 1001)]


def connected():
    """Two ends of a TLS connection without certificates, in memory."""
    client, server = (ssl.SSLContext(p) for p in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER))
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    for context in (client, server):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("aNULL:@SECLEVEL=0")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    for end in ends * 2:
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return ends


def test_another_ones_error_is_not_the_connections():
    client, server = connected()
    gate = threading.Event()
    culprit = weft.spawn(lambda: (fail(7), gate.wait()))
    settle()

    def read():
        with pytest.raises(ssl.SSLWantReadError):
            client.read(1)
        server.write(b"x")
        return client.read(1)

    assert weft.spawn(read).result(PROMPT_SECONDS) == b"x"
    gate.set()
    culprit.join()


def test_a_libcrypto_that_is_loaded_later():
    program = """
weft.spawn(int).join()
assert "_ssl" not in sys.modules
import _ssl, ctypes
crypto = ctypes.CDLL(_ssl.__file__)
crypto.ERR_peek_error.restype = ctypes.c_ulong
def run(reason):
    crypto.ERR_new()
    crypto.ERR_set_error(ctypes.c_int(1), ctypes.c_int(reason), None)
    weft.yield_now()
    return crypto.ERR_peek_error() & 0xFFFF
print([thread.result(10) for thread in [weft.spawn(run, reason) for reason in (5, 6)]])
"""
    assert run_program(program) == (0, "[5, 6]\n", "")


def test_in_a_forked_child():
    program = """
import _ssl, ctypes
crypto = ctypes.CDLL(_ssl.__file__)
crypto.ERR_peek_error.restype = ctypes.c_ulong
def fail(reason):
    crypto.ERR_new()
    crypto.ERR_set_error(ctypes.c_int(1), ctypes.c_int(reason), None)
def run():
    fail(5)
    if (child := os.fork()) == 0:
        own = crypto.ERR_peek_error() & 0xFFFF
        other = weft.spawn(crypto.ERR_peek_error).result()
        print(own, other, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    return crypto.ERR_peek_error() & 0xFFFF
print(weft.spawn(run).result(10))
"""
    assert run_program(program, flags=NO_FORK_WARNING) == (0, "5 0\n5\n", "")
