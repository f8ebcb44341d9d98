"""weft.aio: green threads and coroutines wait for each other."""

import asyncio
import contextvars
import functools
import gc
import threading
import time

import pytest
from support import (
    PROMPT_SECONDS,
    in_os_thread,
    results,
    run_program,
    settle,
    spawn_each,
    wait_until,
)

import weft
from weft import _shared_loop, aio

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.fixture(autouse=True)
def _no_loop_left():
    yield
    aio.close()


async def ready(value):
    return value


async def later(value):
    await asyncio.sleep(0.001)
    return value


async def fail(error):
    raise error


async def fail_later(error):
    await asyncio.sleep(0.001)
    raise error


# --- await_ -------------------------------------------------------------------------------


@pytest.mark.parametrize("fn", [ready, later])
def test_it_returns_what_the_coroutine_returns(fn):
    assert aio.await_(fn("value")) == "value"


@pytest.mark.parametrize("fn", [fail, fail_later])
def test_it_raises_what_the_coroutine_raises(fn):
    error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError) as caught:
        aio.await_(fn(error))
    assert caught.value is error


@pytest.mark.parametrize("fn", [ready, later])
def test_many_green_threads_wait_at_once(fn):
    jobs = spawn_each(lambda number: aio.await_(fn(number)), range(100))
    assert results(jobs) == list(range(100))


def test_a_ready_coroutine_parks_nobody(cooperative):
    aio.await_(ready(None))
    other = weft.spawn(int)
    assert aio.await_(ready("value")) == "value"
    assert other.is_alive()  # it has not had its turn
    other.join()


def test_anything_that_can_be_awaited_will_do():
    class Value:
        def __await__(self):
            yield from asyncio.sleep(0.001).__await__()
            return "value"

    assert aio.await_(Value()) == "value"
    with pytest.raises(TypeError):
        aio.await_(42)


def test_asyncios_objects_are_shared():
    async def make():
        return asyncio.Queue()

    queue = aio.await_(make())
    consumer = weft.spawn(aio.await_, queue.get())
    aio.await_(queue.put("item"))
    assert consumer.result(PROMPT_SECONDS) == "item"


@pytest.mark.parametrize("wait", [0, 0.001])
def test_timeouts_and_task_groups_work_from_the_first_step(wait):
    async def main():
        task = asyncio.current_task()
        async with asyncio.timeout(PROMPT_SECONDS), asyncio.TaskGroup() as group:
            child = group.create_task(ready("child"))
            if wait:
                await asyncio.sleep(wait)
        assert asyncio.current_task() is task
        assert task.get_coro().__name__ == "main"
        return child.result()

    assert aio.await_(main()) == "child"


def test_a_timeout_of_the_first_step_ends_what_follows():
    async def main():
        async with asyncio.timeout(0.001):
            await asyncio.sleep(PROMPT_SECONDS)

    with pytest.raises(TimeoutError):
        aio.await_(main())


def test_a_task_may_cancel_itself_in_its_first_step():
    async def main():
        asyncio.current_task().cancel()
        await asyncio.sleep(PROMPT_SECONDS)

    with pytest.raises(asyncio.CancelledError):
        aio.await_(main())


def test_what_a_ready_coroutine_starts_goes_on():
    seen = threading.Event()

    async def main():
        asyncio.get_running_loop().call_later(0.001, seen.set)

    aio.await_(main())
    assert seen.wait(PROMPT_SECONDS)


def test_a_task_that_a_ready_coroutine_starts_goes_on():
    async def main():
        return asyncio.create_task(later("value"))

    assert aio.await_(aio.await_(main())) == "value"


def test_a_coroutine_sees_the_callers_context():
    async def read(wait):
        before = VARIABLE.get()
        await asyncio.sleep(wait)
        return before, VARIABLE.get()

    def caller():
        VARIABLE.set("mine")
        return aio.await_(read(0.001))

    assert weft.spawn(caller).result() == ("mine", "mine")


def test_no_running_loop_is_left_to_the_caller():
    aio.await_(ready(None))
    aio.await_(later(None))
    with pytest.raises(ZeroDivisionError):
        aio.await_(fail(ZeroDivisionError()))
    assert asyncio._get_running_loop() is None
    assert asyncio.run(ready("a loop of its own")) == "a loop of its own"


def test_a_future_of_another_loop(installed):
    loop = asyncio.new_event_loop()
    turning = weft.spawn(loop.run_forever)
    task = asyncio.run_coroutine_threadsafe(ready(None), loop)
    task.result(PROMPT_SECONDS)
    future = loop.create_future()
    waiting = weft.spawn(aio.await_, future)
    settle()
    loop.call_soon_threadsafe(future.set_result, "value")
    assert waiting.result(PROMPT_SECONDS) == "value"
    loop.call_soon_threadsafe(loop.stop)
    turning.join()
    loop.close()


def test_a_coroutine_that_blocks_holds_up_its_loop_and_nothing_breaks():
    async def block():
        time.sleep(0.002)
        return asyncio.current_task() is not None

    async def both(fn):
        await asyncio.sleep(0)
        return await fn()

    jobs = spawn_each(lambda number: aio.await_(both(block) if number % 2 else block()), range(10))
    assert results(jobs) == [True] * 10


def test_preempted_first_steps_do_not_mix():
    async def compute():
        task = asyncio.current_task()
        for _ in range(20_000):
            pass
        assert asyncio.current_task() is task
        await asyncio.sleep(0)
        assert asyncio.current_task() is task
        return True

    before = weft.get_preemption()
    weft.set_preemption(0.0001)
    try:
        assert all(results(spawn_each(lambda _: aio.await_(compute()), range(20))))
    finally:
        weft.set_preemption(before)


@pytest.mark.parametrize("fn", [ready, later])
def test_a_coroutine_may_not_block_on_its_own_loop(fn):
    async def main(wait):
        await asyncio.sleep(wait)
        return aio.await_(fn("value"))

    async def on_a_task():
        return aio.await_(asyncio.create_task(later("value")))

    for coroutine in (main(0), main(0.001), on_a_task()):
        with pytest.raises(RuntimeError, match="wait for ever"):
            aio.await_(coroutine)


def test_from_other_os_threads():
    assert aio.await_(later("main")) == "main"
    asked = [in_os_thread(aio.await_, later(number)) for number in range(5)]
    assert [answer() for answer in asked] == list(range(5))


def test_the_loop_survives_the_os_thread_that_needed_it_first():
    assert in_os_thread(aio.await_, later("first"))() == "first"
    assert aio.await_(later("second")) == "second"


def test_asyncios_debug_mode_has_no_complaints():
    seen = run_program(
        """
from weft import aio
import asyncio
async def main():
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0.001))
    return "done"
print(aio.await_(main()), weft.spawn(main).result(), aio.run(main()))
""",
        flags=["-X", "dev", "-W", "error"],
    )
    assert (seen.status, seen.output, seen.errors) == (0, "done done done\n", "")


def test_a_generator_that_is_dropped_is_closed_by_the_loop():
    closed = threading.Event()

    async def numbers():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.set()

    async def first():
        async for number in numbers():
            return number
        return None

    assert aio.await_(first()) == 1
    assert closed.wait(PROMPT_SECONDS)


# --- cancelling, and the end --------------------------------------------------------------


def test_a_cancelled_coroutine_raises_in_the_green_thread():
    async def main(tasks):
        tasks.append(asyncio.current_task())
        await asyncio.sleep(PROMPT_SECONDS)

    def caught(tasks):
        with pytest.raises(asyncio.CancelledError):
            aio.await_(main(tasks))
        return "cancelled"

    tasks = []
    waiting = weft.spawn(caught, tasks)
    settle()
    tasks[0].get_loop().call_soon_threadsafe(tasks[0].cancel)
    assert waiting.result(PROMPT_SECONDS) == "cancelled"


INTERRUPTED = """
from weft import aio
import asyncio

async def main():
    asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
    try:
        await asyncio.sleep(20)
    finally:
        await asyncio.sleep(0.001)
        print("cleaned up")

try:
    {call}(main())
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("call", ["aio.await_", "aio.run"])
def test_ctrl_c_cancels_the_coroutine_and_waits_for_it(call):
    seen = run_program(INTERRUPTED.format(call=call))
    assert (seen.status, seen.output, seen.errors) == (0, "cleaned up\ninterrupted\n", "")


@pytest.fixture(params=[aio.await_, aio.run])
def call(request):
    return request.param


async def wait_forever(record):
    record.append("begun")
    try:
        await asyncio.sleep(PROMPT_SECONDS)
    finally:
        await asyncio.sleep(0.001)
        record.append("cleaned up")


def test_a_cancelled_green_thread_cancels_the_coroutine_and_waits_for_it(call):
    record = []
    waiting = weft.spawn(call, wait_forever(record))
    wait_until(lambda: record)
    waiting.cancel()
    waiting.join()
    assert waiting.cancelled()
    assert record == ["begun", "cleaned up"]


def test_a_timeout_of_weft_ends_a_coroutine(call):
    record = []
    with pytest.raises(TimeoutError), weft.timeout(0.005):
        call(wait_forever(record))
    assert record == ["begun", "cleaned up"]


def test_a_green_thread_cancelled_before_it_began_leaves_no_coroutine(call):
    async def never():
        raise AssertionError("begun")

    thread = weft.spawn(lambda: call(never()))
    thread.cancel()
    thread.join()
    assert thread.cancelled()


def test_a_spawned_coroutine_can_be_cancelled():
    record = []
    thread = weft.spawn(wait_forever, record)
    wait_until(lambda: record)
    thread.cancel()
    thread.join()
    assert thread.cancelled()
    assert record == ["begun", "cleaned up"]


def test_close_cancels_what_is_left(capsys):
    async def start():
        return asyncio.create_task(forever())

    async def forever():
        try:
            await asyncio.sleep(PROMPT_SECONDS)
        finally:
            await asyncio.sleep(0.001)
            print("cleaned up")

    task = aio.await_(start())
    settle()
    aio.close()
    assert task.cancelled()
    assert capsys.readouterr().out == "cleaned up\n"
    assert aio.await_(later("a new loop")) == "a new loop"


def test_all_tasks_are_those_of_the_loop_whoever_made_them():
    """From 3.14 on asyncio has a list of tasks for each thread."""

    async def make():
        return asyncio.create_task(asyncio.sleep(PROMPT_SECONDS))

    async def at_once():
        return asyncio.all_tasks()

    async def in_the_driver():
        await asyncio.sleep(0)
        return asyncio.all_tasks() | {await make()}

    made = {weft.spawn(make).result() for _ in range(3)} | {aio.await_(make())}
    assert made <= aio.await_(at_once())
    seen = aio.await_(in_the_driver())
    assert made <= seen
    assert seen - {task for task in seen if task.done()} <= weft.spawn(at_once).result()
    assert made <= asyncio.all_tasks(next(iter(made)).get_loop())
    aio.close()
    assert all(task.cancelled() for task in made)


def test_a_coroutine_cannot_close_its_loop():
    async def main():
        aio.close()

    with pytest.raises(RuntimeError, match="own coroutines"):
        aio.await_(main())


def test_the_program_ends_with_the_loop_in_use():
    seen = run_program(
        """
from weft import aio
import asyncio
async def start():
    asyncio.get_running_loop().background = asyncio.create_task(asyncio.sleep(20))
aio.await_(start())
print("done")
""",
        flags=["-X", "dev"],
    )
    assert (seen.status, seen.output, seen.errors) == (0, "done\n", "")


def test_a_forked_child_has_a_loop_of_its_own():
    seen = run_program(
        """
from weft import aio
import asyncio
async def main():
    await asyncio.sleep(0.001)
    return 7
aio.await_(main())
pid = os.fork()
if pid == 0:
    os._exit(aio.await_(main()))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), aio.await_(main()))
""",
        flags=["-W", "ignore"],
    )
    assert (seen.output, seen.errors) == ("7 7\n", "")


def test_nothing_is_kept_of_a_call():
    async def step(wait, held):
        await asyncio.sleep(wait)

    class Held:
        pass

    for wait in (0, 0.001):
        held = Held()
        aio.await_(step(wait, held))
        settle()
        assert not [referrer for referrer in gc.get_referrers(held) if type(referrer) is not dict]


# --- run ----------------------------------------------------------------------------------


def test_run_has_a_loop_of_its_own_and_closes_it():
    async def main():
        await asyncio.sleep(0.001)
        return asyncio.get_running_loop()

    loop = aio.run(main())
    assert loop.is_closed()
    assert loop is not _shared_loop.shared_loop()


def test_run_works_inside_a_coroutine():
    async def outer():
        return aio.run(later("inner"))

    assert asyncio.run(outer()) == "inner"
    assert aio.await_(outer()) == "inner"


def test_run_raises_what_the_coroutine_raises():
    with pytest.raises(ZeroDivisionError):
        aio.run(fail_later(ZeroDivisionError()))


def test_run_takes_a_loop_factory():
    made = []

    def factory():
        made.append(asyncio.new_event_loop())
        return made[-1]

    async def main():
        return asyncio.get_running_loop()

    assert aio.run(main(), loop_factory=factory) is made[0]


# --- to_green and result ------------------------------------------------------------------


def on_any_loop(test):
    """Run it on a loop of its own and on the shared one."""

    @pytest.mark.parametrize("run", [asyncio.run, aio.await_])
    @functools.wraps(test)
    def wrapped(run):
        run(test())

    del wrapped.__wrapped__
    return wrapped


@on_any_loop
async def test_to_green_returns_and_raises():
    assert await aio.to_green(divmod, 7, 3) == (2, 1)
    assert await aio.to_green(int, "11", base=2) == 3
    with pytest.raises(ZeroDivisionError):
        await aio.to_green(divmod, 1, 0)


@on_any_loop
async def test_to_green_runs_on_the_same_os_thread_while_the_loop_goes_on():
    gate = threading.Event()

    def block():
        gate.wait(PROMPT_SECONDS)
        return threading.get_native_id()

    blocked = asyncio.create_task(aio.to_green(block))
    await asyncio.sleep(0.001)
    gate.set()
    assert await blocked == threading.get_native_id()


@on_any_loop
async def test_a_cancelled_task_cancels_its_green_thread_and_waits_for_it():
    record = []

    def block():
        record.append(weft.current())
        try:
            time.sleep(PROMPT_SECONDS)
        finally:
            time.sleep(0.001)
            record.append("cleaned up")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(aio.to_green(block), 0.005)
    thread, cleaned_up = record
    assert thread.cancelled()
    assert cleaned_up == "cleaned up"


@on_any_loop
async def test_a_task_may_be_cancelled_again_while_its_green_thread_ends():
    gate = threading.Event()

    def block():
        with weft.CancelScope(shield=True):
            gate.wait(PROMPT_SECONDS)

    task = asyncio.create_task(aio.to_green(block))
    for _ in range(3):
        await asyncio.sleep(0.001)
        assert not task.done()
        task.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task


@on_any_loop
async def test_a_cancelled_green_thread_is_a_cancelled_wait():
    thread = weft.spawn(time.sleep, PROMPT_SECONDS)
    waiting = asyncio.create_task(aio.result(thread))
    await asyncio.sleep(0.001)
    thread.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@on_any_loop
async def test_hundreds_of_calls_block_at_once():
    barrier = threading.Barrier(300, timeout=PROMPT_SECONDS)
    numbers = await asyncio.gather(*(aio.to_green(barrier.wait) for _ in range(300)))
    assert sorted(numbers) == list(range(300))


@on_any_loop
async def test_to_green_keeps_the_context():
    VARIABLE.set("task's")
    assert await aio.to_green(VARIABLE.get) == "task's"
    await aio.to_green(VARIABLE.set, "green thread's")
    assert VARIABLE.get() == "task's"


@on_any_loop
async def test_back_and_forth():
    def block(depth):
        time.sleep(0)
        return aio.run(climb(depth - 1)) if depth else "bottom"

    async def climb(depth):
        await asyncio.sleep(0)
        return await aio.to_green(block, depth)

    assert await climb(4) == "bottom"


def test_shared_loop_back_and_forth():
    def block(depth):
        return aio.await_(climb(depth - 1)) if depth else "bottom"

    async def climb(depth):
        await asyncio.sleep(0)
        return await aio.to_green(block, depth)

    assert aio.await_(climb(10)) == "bottom"


@on_any_loop
async def test_a_coroutine_waits_for_a_green_thread():
    thread = weft.spawn(time.sleep, 0.001)
    assert await aio.result(thread) is None
    assert await aio.result(thread) is None  # as often as one likes
    with pytest.raises(ZeroDivisionError):
        await aio.result(weft.spawn(divmod, 1, 0))


@on_any_loop
async def test_who_waits_for_a_green_thread_may_be_cancelled_and_it_goes_on():
    gate = threading.Event()
    thread = weft.spawn(gate.wait, PROMPT_SECONDS)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(aio.result(thread), 0.001)
    assert thread.is_alive()
    gate.set()
    assert await aio.result(thread) is True


def test_each_waits_for_the_other():
    async def main():
        return await aio.result(weft.spawn(aio.await_, later("far")))

    assert aio.await_(main()) == "far"


def test_cancelled_at_any_moment_nothing_is_lost():
    seen = run_program(
        """
import asyncio, random
from weft import aio

weft.set_preemption(0.0001)
choose = random.Random(7)
begun, ended = [], []

async def job(number):
    try:
        begun.append(number)
        await asyncio.sleep(choose.random() * 0.001)
        for _ in range(choose.randrange(2000)):
            pass
        return await aio.to_green(block, number)
    finally:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append(number)

def block(number):
    time.sleep(choose.random() * 0.001)
    return number

async def tasks():
    return len(asyncio.all_tasks())

for _ in range(5):
    threads = [weft.spawn(job, number) for number in range(60)]
    for thread in choose.sample(threads, 30):
        time.sleep(choose.random() * 0.0001)
        thread.cancel()
    for number, thread in enumerate(threads):
        thread.join()
        assert thread.cancelled() or thread.result() == number
assert sorted(begun) == sorted(ended)
assert aio.await_(tasks()) <= 1
aio.close()
print(len(weft.all_threads()))
""",
        flags=["-W", "default"],
    )
    assert (seen.status, seen.output, seen.errors) == (0, "0\n", "")


# --- weft.spawn of an async function ------------------------------------------------------


@pytest.mark.parametrize("fn", [ready, later])
def test_spawn_sees_a_coroutine_through(fn):
    assert results([weft.spawn(fn, number) for number in range(20)]) == list(range(20))


def test_spawn_of_whatever_returns_a_coroutine():
    assert weft.spawn(functools.partial(later, "partial")).result() == "partial"
    assert weft.spawn(lambda: later("lambda")).result() == "lambda"


@pytest.mark.parametrize("fn", [fail, fail_later])
def test_spawn_raises_what_the_coroutine_raises(fn):
    thread = weft.spawn(fn, ZeroDivisionError())
    assert isinstance(thread.exception(), ZeroDivisionError)


def test_spawned_coroutines_share_a_loop():
    async def meet(queue, number):
        await queue[0].put(number)
        return asyncio.get_running_loop()

    async def make():
        return [asyncio.Queue(1)]

    queue = aio.await_(make())
    jobs = [weft.spawn(meet, queue, number) for number in range(5)]
    got = [aio.await_(queue[0].get()) for _ in range(5)]
    assert sorted(got) == list(range(5))
    assert len(set(results(jobs))) == 1


def test_spawn_keeps_the_context():
    async def read():
        await asyncio.sleep(0.001)
        return VARIABLE.get()

    def caller():
        VARIABLE.set("spawner's")
        return weft.spawn(read).result()

    assert weft.spawn(caller).result() == "spawner's"


def test_spawn_in_a_coroutine():
    async def main():
        threads = [weft.spawn(later, number) for number in range(3)]
        return [await aio.result(thread) for thread in threads]

    assert asyncio.run(main()) == [0, 1, 2]


def test_asyncio_is_imported_only_when_needed():
    seen = run_program("""
weft.spawn(int).join()
print("asyncio" in sys.modules)
async def main():
    return "asyncio" in sys.modules
print(weft.spawn(main).result())
""")
    assert (seen.output, seen.errors) == ("False\nTrue\n", "")
