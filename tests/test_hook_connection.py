"""Connecting and accepting: who waits, who shares the listener, what is left as it was."""

import errno
import os
import select
import socket
import struct

import pytest
from support import PROMPT_SECONDS, REFUSE, libc, results, run_program, settle, spawn_each, together

import weft


def errno_of(fn, *args):
    with pytest.raises(OSError) as caught:
        fn(*args)
    return caught.value.errno


def set_timeout(sock, option, seconds):
    micros = int(seconds * 1e6)
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", micros // 10**6, micros % 10**6))


def test_connect_and_accept_meet(closing):
    server = closing(socket.create_server(("127.0.0.1", 0)))

    def accept():
        connection, address = server.accept()
        with connection:
            return connection.recv(10), address

    def connect():
        with socket.create_connection(server.getsockname()) as client:
            client.send(b"argh")
            return client.getsockname()

    (data, seen), own = together(accept, connect)
    assert (data, seen) == (b"argh", own)


def test_connect_leaves_the_socket_blocking(closing):
    server = closing(socket.create_server(("127.0.0.1", 0)))
    client = closing(socket.socket())
    weft.spawn(client.connect, server.getsockname()).result()
    assert os.get_blocking(client.fileno())


def test_connect_refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    assert weft.spawn(errno_of, socket.create_connection, address).result() == errno.ECONNREFUSED


def test_connect_to_a_path_that_is_not_there(closing, tmp_path):
    client = closing(socket.socket(socket.AF_UNIX))
    number = weft.spawn(errno_of, client.connect, str(tmp_path / "none")).result()
    assert number == errno.ENOENT


def full_listener(closing):
    """A TCP listener that takes no more connections, so that connect hangs."""
    server = closing(socket.socket())
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    for _ in range(3):
        client = closing(socket.socket())
        client.setblocking(False)
        client.connect_ex(server.getsockname())
    return server


def test_connect_that_times_out(closing, parked):
    server = full_listener(closing)
    client = closing(socket.socket())
    client.settimeout(0.01)
    with pytest.raises(TimeoutError):
        client.connect(server.getsockname())


def test_connect_with_sndtimeo(closing):
    server = full_listener(closing)
    client = closing(socket.socket())
    set_timeout(client, socket.SO_SNDTIMEO, 0.01)
    number = weft.spawn(errno_of, client.connect, server.getsockname()).result(PROMPT_SECONDS)
    assert number == errno.EINPROGRESS


def test_close_while_connecting(closing):
    server = full_listener(closing)
    client = closing(socket.socket())
    connecter = weft.spawn(errno_of, client.connect, server.getsockname())
    settle()
    assert connecter.is_alive()
    client.close()
    assert connecter.result(PROMPT_SECONDS) == errno.EBADF


def test_unix_connect_waits_while_the_backlog_is_full(closing, tmp_path):
    address = str(tmp_path / "socket")
    server = closing(socket.socket(socket.AF_UNIX))
    server.bind(address)
    server.listen(0)

    def connect(_):
        client = closing(socket.socket(socket.AF_UNIX))
        client.connect(address)
        return os.get_blocking(client.fileno())

    clients = spawn_each(connect, range(5))
    settle()
    assert any(client.is_alive() for client in clients)
    for _ in range(5):
        closing(server.accept()[0])
    assert results(clients) == [True] * 5


def test_unix_connect_with_sndtimeo_while_the_backlog_is_full(closing, tmp_path):
    address = str(tmp_path / "socket")
    server = closing(socket.socket(socket.AF_UNIX))
    server.bind(address)
    server.listen(0)
    closing(socket.socket(socket.AF_UNIX)).connect(address)
    late = closing(socket.socket(socket.AF_UNIX))
    set_timeout(late, socket.SO_SNDTIMEO, 0.005)
    assert weft.spawn(errno_of, late.connect, address).result(PROMPT_SECONDS) == errno.EAGAIN


def test_several_accepters_get_one_each(closing):
    server = closing(socket.create_server(("127.0.0.1", 0)))

    def accept(_):
        connection, address = server.accept()
        connection.close()
        return address

    accepters = spawn_each(accept, range(5))
    settle()
    clients = [closing(socket.create_connection(server.getsockname())) for _ in range(5)]
    assert sorted(results(accepters)) == sorted(client.getsockname() for client in clients)


def test_a_non_blocking_listener_and_what_it_accepts(closing, parked):
    server = closing(socket.create_server(("127.0.0.1", 0)))
    server.setblocking(False)
    assert errno_of(server.accept) == errno.EAGAIN
    client = closing(socket.create_connection(server.getsockname()))
    select.select([server], [], [])
    accepted = closing(server.accept()[0])
    assert accepted.getblocking()
    reader = weft.spawn(accepted.recv, 1)
    settle()
    assert reader.is_alive()
    client.send(b"x")
    assert reader.result(PROMPT_SECONDS) == b"x"


def test_accept4_that_makes_it_non_blocking(closing, parked):
    server = closing(socket.create_server(("127.0.0.1", 0)))
    closing(socket.create_connection(server.getsockname()))
    fd = libc.accept4(server.fileno(), None, None, socket.SOCK_NONBLOCK)
    accepted = closing(socket.socket(fileno=fd))
    assert errno_of(os.read, accepted.fileno(), 1) == errno.EAGAIN


def test_timeout_of_accept(closing, parked):
    server = closing(socket.create_server(("127.0.0.1", 0)))
    server.settimeout(0.01)
    with pytest.raises(TimeoutError):
        server.accept()


def test_rcvtimeo_of_accept(closing):
    server = closing(socket.create_server(("127.0.0.1", 0)))
    set_timeout(server, socket.SO_RCVTIMEO, 0.005)
    assert weft.spawn(errno_of, server.accept).result(PROMPT_SECONDS) == errno.EAGAIN


def test_close_wakes_an_accepter():
    server = socket.create_server(("127.0.0.1", 0))
    accepter = weft.spawn(errno_of, server.accept)
    settle()
    server.close()
    assert accepter.result(PROMPT_SECONDS) == errno.EBADF


def test_shutdown_of_a_listener_wakes_the_accepter(closing):
    server = closing(socket.create_server(("127.0.0.1", 0)))
    accepter = weft.spawn(errno_of, server.accept)
    settle()
    server.shutdown(socket.SHUT_RDWR)
    assert accepter.result(PROMPT_SECONDS) == errno.EINVAL


# --- A listener shared with others ---------------------------------------------------------

# The client runs in the OS thread of the accepter: if that waits in the kernel, all wait for ever.
PREFORK = """
server = socket.create_server(("127.0.0.1", 0))
def client(count):
    for number in range(count):
        with socket.create_connection(server.getsockname()) as sock:
            sock.send(b"%d" % number)
            assert sock.recv(10) == b"%d" % number
def serve():
    while True:
        connection, _ = server.accept()
        with connection:
            connection.send(connection.recv(10))
pids = []
"""

SIBLINGS = {
    "a process": """
pids.append(os.fork())
if pids == [0]:
    serve()
""",
    "two processes with green threads": """
for _ in range(2):
    pids.append(os.fork())
    if 0 in pids:
        for _ in range(2):
            weft.spawn(serve)
        serve()
""",
    "an OS thread": """
weft.spawn(int).join()
threading.Thread(target=serve, daemon=True).start()
""",
    "an OS thread with green threads": """
def serve_more():
    weft.spawn(serve).daemon = True
    serve()
threading.Thread(target=serve_more, daemon=True).start()
""",
    "a process that was sent the listener": """
left, right = socket.socketpair()
pids.append(os.fork())
if pids == [0]:
    _, (fd,), _, _ = socket.recv_fds(right, 1, 1)
    server = socket.socket(fileno=fd)
    serve()
weft.spawn(int).join()
server = socket.create_server(("127.0.0.1", 0))
socket.send_fds(left, [b"x"], [server.fileno()])
""",
    "a command that inherited the listener": """
import subprocess
weft.spawn(int).join()
server = socket.create_server(("127.0.0.1", 0))
program = f'''
import socket
server = socket.socket(fileno={server.fileno()})
print(flush=True)
while True:
    connection, _ = server.accept()
    connection.send(connection.recv(10))
    connection.close()
'''
command = [sys.executable, "-c", program]
child = subprocess.Popen(command, pass_fds=[server.fileno()], stdout=subprocess.PIPE)
child.stdout.readline()
pids.append(child.pid)
""",
}


# Between the look at the listener and the accept there is a theft now and then; or always one (the
# look is refused, and accept called whether a connection waits or not).
THEFTS = {"rare": "", "certain": REFUSE + "refuse(SYS_POLL, errno.ENOMEM)\n"}


@pytest.mark.parametrize("theft", THEFTS)
@pytest.mark.parametrize("sibling", SIBLINGS)
def test_a_sibling_that_is_quicker_to_accept(sibling, theft):
    program = (
        PREFORK
        + SIBLINGS[sibling]
        + THEFTS[theft]
        + """
for _ in range(2):
    weft.spawn(serve).daemon = True
weft.spawn(client, 200).result(15)
for pid in pids:
    os.kill(pid, signal.SIGKILL)
print("served", flush=True)
os._exit(0)
"""
    )
    assert run_program(program) == (0, "served\n", "")


def test_a_listener_of_our_own_costs_no_os_thread():
    # In a process of its own: where other OS threads have green threads, no listener is ours alone.
    program = """
weft.spawn(time.sleep, 60).daemon = True
server = socket.create_server(("127.0.0.1", 0))
for _ in range(3):
    client = socket.create_connection(server.getsockname())
    server.accept()
print(weft.statistics().offloads)
"""
    assert run_program(program) == (0, "0\n", "")
