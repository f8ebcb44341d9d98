"""fork: the child keeps the green thread that forked, and nobody else."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from support import NO_FORK_WARNING, PROMPT_SECONDS, results, run_program, settle, spawn_each

import weft

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

FORKS = """
def in_child(fn):
    pid = os.fork()
    if pid == 0:
        try:
            fn()
            sys.stdout.flush()
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
        os._exit(1)
    return os.waitpid(pid, 0)[1]
def work():
    left, right = socket.socketpair()
    reader = weft.spawn(right.recv, 10)
    sleepers = [weft.spawn(time.sleep, 0.002) for _ in range(3)]
    weft.sleep(0.001)
    left.send(b"argh")
    for sleeper in sleepers:
        sleeper.join()
    lock = threading.Lock()
    lock.acquire()
    assert not lock.acquire(timeout=0.001)
    return reader.result(10)
"""


def forking(program):
    """Run a program that forks, without 3.12's warning that it has several threads."""
    return run_program(FORKS + program, flags=NO_FORK_WARNING)


def test_the_child_of_main_works():
    program = """
print(work(), flush=True)
print(in_child(lambda: print(work())), flush=True)
print(work())
"""
    assert forking(program) == (0, "b'argh'\nb'argh'\n0\nb'argh'\n", "")


def test_the_child_of_a_green_thread_works():
    program = """
def forker():
    return in_child(lambda: print(work(), weft.current().name))
thread = weft.spawn(forker)
thread.name = "forker"
print(thread.result(10), flush=True)
print(work())
"""
    assert forking(program) == (0, "b'argh' forker\n0\nb'argh'\n", "")


def test_fork_before_the_first_green_thread():
    assert forking("print(in_child(lambda: print(work())))") == (0, "b'argh'\n0\n", "")


@pytest.mark.parametrize("forker", ["in_child", "lambda fn: weft.spawn(in_child, fn).result(10)"])
def test_the_others_do_not_run_in_the_child(forker):
    program = f"""
record = []
def other():
    while True:
        weft.sleep(0.0005)
        record.append(os.getpid())
other = weft.spawn(other)
other.daemon = True
weft.sleep(0.002)
def child():
    before = len(record)
    weft.sleep(0.005)
    print(len(record) - before, weft.all_threads() in ([], [weft.current()]),
          weft.statistics().runnable)
print(({forker})(child))
"""
    assert forking(program) == (0, "0 True 0\n0\n", "")


def test_the_dead_are_dead_in_the_child():
    program = """
gate = threading.Event()
parked = weft.spawn(gate.wait)
weft.sleep(0)
def child():
    print(parked.is_alive(), parked.done())
    parked.join()
    try:
        parked.result()
    except RuntimeError as error:
        print(error)
print(in_child(child))
gate.set()
print(parked.result())
"""
    expected = "False True\nthe green thread did not survive os.fork()\n0\nTrue\n"
    assert forking(program) == (0, expected, "")


def test_parked_of_every_kind_while_forking():
    program = """
import select
left, right = socket.socketpair()
other_left, other_right = socket.socketpair()
gate = threading.Event()
parked = [
    weft.spawn(right.recv, 1), weft.spawn(gate.wait), weft.spawn(time.sleep, 0.05),
    weft.spawn(select.select, [other_right], [], []),
    weft.spawn(socket.getaddrinfo, "localhost", 1),
]
parked.append(weft.spawn(parked[0].join))
weft.sleep(0)
for _ in range(3):
    print(in_child(lambda: print(work())), flush=True)
gate.set()
left.send(b"x")
other_left.send(b"x")
for thread in parked:
    thread.join()
"""
    assert forking(program) == (0, "b'argh'\n0\n" * 3, "")


def test_descriptors_of_parent_and_child_are_apart():
    # The child must not share the parent's epoll: what it registers would wake the parent.
    program = """
left, right = socket.socketpair()
reader = weft.spawn(right.recv, 10)
weft.sleep(0)
def child():
    weft.spawn(right.recv, 10).daemon = True
    weft.sleep(0.005)
    right.close()
print(in_child(child), reader.is_alive())
left.send(b"argh")
print(reader.result(10))
"""
    seen = forking(program)
    assert seen.output == "0 True\nb'argh'\n"


def test_exit_status_of_a_child_that_returns_from_a_green_thread():
    program = """
def forker():
    if os.fork() == 0:
        return None  # this was the child's only thread
    return os.wait()[1]
print(weft.spawn(forker).result(10))
"""
    assert forking(program) == (0, "0\n", "")


def test_the_child_of_main_exits_as_usual():
    program = """
import atexit
atexit.register(print, "atexit")
gate = threading.Event()
parked = weft.spawn(gate.wait)
weft.sleep(0)
if os.fork() == 0:
    weft.spawn(print, "green")
    sys.exit(3)
print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
gate.set()
"""
    assert forking(program) == (0, "green\natexit\n3\natexit\n", "")


def test_threads_in_the_child():
    program = """
weft.install()
gate = threading.Event()
parked = threading.Thread(target=gate.wait)
parked.start()
def child():
    print(parked.is_alive(), threading.active_count())
    thread = threading.Thread(
        target=lambda: print(work(), threading.get_native_id() == os.getpid())
    )
    thread.start()
    thread.join()
    weft.uninstall()
print(in_child(child))
gate.set()
parked.join()
"""
    assert forking(program) == (0, "False 1\nb'argh' True\n0\n", "")


def test_a_child_of_a_thread():
    program = """
weft.install()
def forker():
    print(in_child(lambda: print(work(), threading.current_thread() is threading.main_thread())))
thread = threading.Thread(target=forker)
thread.start()
thread.join()
"""
    assert forking(program) == (0, "b'argh' True\n0\n", "")


def test_children_of_children():
    program = """
def child(depth):
    print(depth, work(), flush=True)
    if depth < 3:
        assert weft.spawn(in_child, lambda: child(depth + 1)).result(10) == 0
print(in_child(lambda: child(1)))
"""
    expected = "".join(f"{depth} b'argh'\n" for depth in (1, 2, 3)) + "0\n"
    assert forking(program) == (0, expected, "")


def test_signals_in_the_child():
    program = """
weft.spawn(int).join()
def child():
    signal.signal(signal.SIGALRM, lambda *_: print("alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    weft.spawn(time.sleep, 0.05)
    weft.sleep(0.05)
print(in_child(child), weft.spawn(in_child, lambda: weft.spawn(in_child, int).result()).result())
"""
    assert forking(program) == (0, "alarm\n0 0\n", "")


def test_control_c_in_the_child_of_a_green_thread():
    program = """
def child():
    try:
        weft.spawn(lambda: (time.sleep(0.01), os.kill(os.getpid(), signal.SIGINT)))
        weft.sleep(10)
    except KeyboardInterrupt:
        print("interrupted")
print(weft.spawn(in_child, child).result(20))
"""
    assert forking(program) == (0, "interrupted\n0\n", "")


def test_locks_and_wakes_across_os_threads_in_the_child():
    program = """
weft.spawn(int).join()
def child():
    gate = threading.Event()
    waiter = weft.spawn(gate.wait, 10)
    weft.sleep(0)
    thread = threading.Thread(target=gate.set)
    thread.start()
    print(waiter.result())
    thread.join()
    print(socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)[0][4])
print(in_child(child), weft.spawn(in_child, child).result())
"""
    expected = "True\n('127.0.0.1', 80)\n"
    assert forking(program) == (0, expected * 2 + "0 0\n", "")


def test_fork_while_other_os_threads_use_weft():
    program = """
stop = False
def busy():
    def loop():
        gate = threading.Semaphore(0)
        while not stop:
            weft.spawn(gate.release)
            gate.acquire()
    weft.spawn(loop).result()
threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
statuses = {in_child(work) for _ in range(15)}
stop = True
for thread in threads:
    thread.join()
print(statuses)
"""
    assert forking(program) == (0, "{0}\n", "")


# --- Processes of the standard library ----------------------------------------------------


def test_many_subprocesses_at_once():
    def run(number):
        child = f"import sys; print(sys.stdin.read() + '{number}')"
        result = subprocess.run(
            [sys.executable, "-S", "-c", child], input="argh", capture_output=True, text=True
        )
        return result.stdout, result.stderr, result.returncode

    assert results(spawn_each(run, range(8))) == [(f"argh{n}\n", "", 0) for n in range(8)]


def test_starting_a_process_leaves_the_parked_alone():
    """The child of a vfork closes descriptors in our memory, under our thread-local storage."""
    left, right = socket.socketpair()
    for sock in (left, right):
        sock.set_inheritable(True)

    def read():
        try:
            return right.recv(10)
        except OSError as error:
            return error

    reader = weft.spawn(read)
    settle()
    for _ in range(3):
        subprocess.run(["true"], check=True, close_fds=True)
        subprocess.run(["true"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    settle()
    assert reader.is_alive()
    left.send(b"argh")
    assert reader.result(PROMPT_SECONDS) == b"argh"
    left.close()
    right.close()


def test_a_subprocess_that_does_not_exist():
    def run(_):
        with pytest.raises(FileNotFoundError):
            subprocess.run(["/no/such/program"])
        return True

    assert results(spawn_each(run, range(5))) == [True] * 5


def test_preexec_and_new_session():
    def run(number):
        result = subprocess.run(
            ["sh", "-c", "cat; exit 3"],
            input=b"%d" % number,
            stdout=subprocess.PIPE,
            preexec_fn=lambda: os.umask(0),
            start_new_session=True,
        )
        return result.returncode, result.stdout

    assert results(spawn_each(run, range(3))) == [(3, b"0"), (3, b"1"), (3, b"2")]


def test_subprocess_timeout():
    def run():
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(["sleep", "30"], timeout=0.02)
        return True

    assert weft.spawn(run).result(PROMPT_SECONDS)


def test_popen_terminate_and_wait():
    def run():
        process = subprocess.Popen(["sleep", "30"])
        weft.sleep(0.001)
        process.terminate()
        return process.wait(PROMPT_SECONDS)

    assert weft.spawn(run).result() == -signal.SIGTERM


def test_os_system_and_popen():
    assert weft.spawn(os.system, "exit 3").result() == 3 << 8
    assert weft.spawn(lambda: os.popen("echo argh").read()).result() == "argh\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(tmp_path, method):
    program = f"""
import multiprocessing, weft, sys
def double(box):
    import weft
    box.put(weft.spawn(lambda: 2 * box.get()).result(10))
def main():
    context = multiprocessing.get_context({method!r})
    def one(number):
        box, process = context.SimpleQueue(), None
        box.put(number)
        process = context.Process(target=double, args=(box,))
        process.start()
        process.join()
        return box.get(), process.exitcode
    print([weft.spawn(one, n).result(20) for n in range(2)])
if __name__ == "__main__":
    main()
"""
    path = tmp_path / "program.py"
    path.write_text(program)
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(path)],
        capture_output=True,
        text=True,
        timeout=25,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "[(0, 0), (2, 0)]\n", "")


@pytest.mark.slow
def test_process_pool_executor_from_green_threads():
    program = """
import concurrent.futures
with concurrent.futures.ProcessPoolExecutor(2) as pool:
    threads = [weft.spawn(lambda n=n: pool.submit(pow, n, 2).result(20)) for n in range(10)]
    print([thread.result() for thread in threads])
"""
    expected = str([n * n for n in range(10)]) + "\n"
    assert forking(program) == (0, expected, "")
