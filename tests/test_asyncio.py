"""asyncio as it is, in green threads: loops side by side, executors, mixed loops.

That real libraries work on it is shown by tests/libraries/cases (asyncio_run, uvloop_run, aiohttp,
httpx_async, asyncpg, uvicorn, handler_sqlalchemy_aiohttp); CPython's own test_asyncio is run by
tools/cpython_tests.py, uvloop's test-suite by tools/uvloop_tests.py.
"""

import asyncio
import concurrent.futures
import contextvars
import socket
import subprocess
import sys
import threading
import time

import pytest
from support import PROMPT_SECONDS, results, run_program, spawn_each, together, wait_until

import weft

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


def native_id():
    return threading.get_native_id()


# --- loops side by side -------------------------------------------------------------------


def test_a_loop_in_each_of_many_green_threads():
    async def conversation(number):
        async def echo(reader, writer):
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"%d\n" % number)
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
        return int(line)

    jobs = spawn_each(lambda number: asyncio.run(conversation(number)), range(50))
    assert results(jobs) == list(range(50))


def test_loops_wait_at_the_same_time():
    gate = threading.Barrier(20, timeout=PROMPT_SECONDS)

    async def meet():
        await asyncio.sleep(0)
        return gate.wait()  # blocks this loop until all twenty are here

    jobs = spawn_each(lambda _: asyncio.run(meet()), range(20))
    assert sorted(results(jobs)) == list(range(20))


def test_each_has_a_running_loop_of_its_own():
    async def loop():
        return asyncio.get_running_loop()

    loops = results(spawn_each(lambda _: asyncio.run(loop()), range(5)))
    assert len(set(map(id, loops))) == 5
    assert asyncio._get_running_loop() is None


def test_a_loop_and_blocking_green_threads(pair):
    ours, theirs = pair

    async def talk():
        reader, writer = await asyncio.open_connection(sock=ours)
        writer.write(b"ping\n")
        line = await reader.readline()
        writer.close()
        return line

    def answer():
        line = theirs.recv(100)
        time.sleep(0.001)
        theirs.sendall(line.replace(b"ping", b"pong"))

    assert together(lambda: asyncio.run(talk()), answer) == [b"pong\n", None]


def test_a_loop_is_woken_by_another_green_thread():
    async def wait(future_to):
        future = asyncio.get_running_loop().create_future()
        future_to.append(future)
        return await future

    handed = []
    waiting = weft.spawn(lambda: asyncio.run(wait(handed)))
    wait_until(lambda: handed)
    (future,) = handed
    future.get_loop().call_soon_threadsafe(future.set_result, "woken")
    assert waiting.result(PROMPT_SECONDS) == "woken"


def test_coroutines_of_two_loops_call_each_other():
    async def main(other):
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answer(), other))

    async def answer():
        await asyncio.sleep(0.001)
        return threading.get_ident()

    other = asyncio.new_event_loop()
    turning = weft.spawn(other.run_forever)
    try:
        asked = weft.spawn(lambda: asyncio.run(main(other))).result(PROMPT_SECONDS)
    finally:
        other.call_soon_threadsafe(other.stop)
        turning.join()
        other.close()
    assert asked == turning.ident


# --- executors ----------------------------------------------------------------------------


async def in_executor(fn):
    return await asyncio.get_running_loop().run_in_executor(None, fn)


@pytest.mark.parametrize("call", [asyncio.to_thread, in_executor])
def test_executors_are_os_threads_without_install(call):
    assert weft.spawn(lambda: asyncio.run(call(native_id))).result() != native_id()


@pytest.mark.parametrize("call", [asyncio.to_thread, in_executor])
def test_executors_are_green_under_install(installed, call):
    assert weft.spawn(lambda: asyncio.run(call(native_id))).result() == native_id()


def test_the_loop_goes_on_while_a_green_executor_blocks(installed):
    async def main():
        gate = threading.Event()
        blocked = asyncio.create_task(asyncio.to_thread(gate.wait, PROMPT_SECONDS))
        await asyncio.sleep(0.001)
        gate.set()
        return await blocked

    assert asyncio.run(main()) is True


def test_to_thread_keeps_the_context(installed):
    async def main():
        VARIABLE.set("set")
        return await asyncio.to_thread(VARIABLE.get)

    assert asyncio.run(main()) == "set"


def test_executors_in_many_loops_at_once(installed):
    async def main(number):
        return sum(await asyncio.gather(*(asyncio.to_thread(slow, number) for _ in range(4))))

    def slow(number):
        time.sleep(0.001)
        return number

    jobs = spawn_each(lambda number: asyncio.run(main(number)), range(20))
    assert results(jobs) == [4 * number for number in range(20)]


# --- mixed loops, as gevent #2213 has them ------------------------------------------------

# There all threads of an OS thread share one running loop, so a future that is chained from a
# thread to a loop takes the thread's loop for its own, and nobody is woken.


def test_a_future_chained_from_a_green_thread_wakes_its_loop(installed):
    async def main():
        source = concurrent.futures.Future()
        thread = threading.Thread(target=lambda: source.set_result(native_id()))
        chained = asyncio.wrap_future(source)
        thread.start()
        try:
            return await asyncio.wait_for(chained, PROMPT_SECONDS)
        finally:
            thread.join()

    assert asyncio.run(main()) == native_id()


def test_a_green_executor_may_run_a_loop_of_its_own(installed):
    async def inner():
        await asyncio.sleep(0.001)
        return await asyncio.to_thread(native_id)

    async def outer():
        return await asyncio.gather(*(asyncio.to_thread(asyncio.run, inner()) for _ in range(5)))

    assert asyncio.run(outer()) == [native_id()] * 5


def test_no_running_loop_leaks_into_a_green_executor(installed):
    async def main():
        return await asyncio.to_thread(asyncio._get_running_loop)

    assert asyncio.run(main()) is None


# --- the rest of a loop -------------------------------------------------------------------


def test_subprocesses_in_several_loops():
    async def main(number):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", f"print({number})", stdout=subprocess.PIPE
        )
        output, _ = await process.communicate()
        return int(output), process.returncode

    jobs = spawn_each(lambda number: asyncio.run(main(number)), range(4))
    assert results(jobs) == [(number, 0) for number in range(4)]


def test_names_are_looked_up():
    async def main():
        found = await asyncio.get_running_loop().getaddrinfo(
            "localhost", 80, family=socket.AF_INET, type=socket.SOCK_STREAM
        )
        return found[0][4]

    assert weft.spawn(lambda: asyncio.run(main())).result() == ("127.0.0.1", 80)


def test_ctrl_c_ends_a_loop_in_the_main_green_thread():
    seen = run_program("""
import asyncio
weft.install()
threading.Thread(target=time.sleep, args=(0.05,)).start()

async def main():
    asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
    try:
        await asyncio.sleep(20)
    finally:
        print("cleaned up")

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
""")
    assert (seen.status, seen.output, seen.errors) == (0, "cleaned up\ninterrupted\n", "")
