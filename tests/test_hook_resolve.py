"""Names and addresses are looked up while others run."""

import ctypes
import socket

import pytest
from support import libc, together

import weft


def test_names_are_looked_up_while_others_run():
    record = []

    def look_up():
        answer = socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        record.append("found")
        return answer

    def count():
        while not record:
            weft.yield_now()
        return "ran meanwhile"

    answer, counted = together(look_up, count)
    assert {entry[4][1] for entry in answer} == {80}
    assert counted == "ran meanwhile"


def test_errors_of_the_lookup_are_told():
    with pytest.raises(socket.gaierror):
        weft.spawn(socket.getaddrinfo, "argh.invalid", 80, flags=socket.AI_NUMERICHOST).result()


def meanwhile(look_up):
    """What `look_up()` returned, and whether another green thread ran before it did."""
    record = []

    def run():
        answer = look_up()
        record.append("found")
        return answer

    def watch():
        return not record

    answer, others_ran = together(run, watch)
    return answer, others_ran


def hostent(function, *args):
    """Calls it, and gives the name that the answer holds, or None and h_errno."""
    function.restype = ctypes.POINTER(ctypes.c_char_p)
    libc.__h_errno_location.restype = ctypes.POINTER(ctypes.c_int)
    entry = function(*args)
    return entry[0] if entry else (None, libc.__h_errno_location()[0])


LOOPBACK = bytes([127, 0, 0, 1])
HOST_NOT_FOUND, TRY_AGAIN, NO_RECOVERY = 1, 2, 3

WAYS = {
    "gethostbyname_ex": lambda: socket.gethostbyname_ex("localhost")[2][0],
    "gethostbyaddr": lambda: bool(socket.gethostbyaddr("127.0.0.1")[0]),
    "getnameinfo": lambda: socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICSERV)[1],
    "libc gethostbyname": lambda: hostent(libc.gethostbyname, b"localhost"),
    "libc gethostbyname2": lambda: hostent(libc.gethostbyname2, b"localhost", socket.AF_INET),
    "libc gethostbyaddr": lambda: bool(
        hostent(libc.gethostbyaddr, LOOPBACK, 4, int(socket.AF_INET))
    ),
}
ANSWERS = ["127.0.0.1", True, "80", b"localhost", b"localhost", True]


@pytest.mark.parametrize(("way", "expected"), list(zip(WAYS, ANSWERS, strict=True)))
def test_all_ways_to_look_up_let_the_others_run(way, expected):
    before = weft.statistics().offloads
    assert meanwhile(WAYS[way]) == (expected, True)
    assert weft.statistics().offloads > before


def test_the_error_number_of_the_host_comes_along(parked):
    result = hostent(libc.gethostbyname, b"a name that cannot be")
    assert result in [(None, number) for number in (HOST_NOT_FOUND, TRY_AGAIN, NO_RECOVERY)]
