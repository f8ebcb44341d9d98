"""weft.Executor: what concurrent.futures promises, and what is our own."""

import asyncio
import concurrent.futures
import contextvars
import itertools
import threading
import time

import pytest
from support import PROMPT_SECONDS, in_os_thread, run_program, settle

import weft

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


def fail(error):
    raise error


@pytest.fixture(params=[None, 2], ids=["unlimited", "two"])
def executor(request):
    with weft.Executor(request.param) as executor:
        yield executor


def test_a_call_gives_a_future_of_its_result(executor):
    future = executor.submit(divmod, 7, 3)
    assert type(future) is concurrent.futures.Future
    assert future.result(PROMPT_SECONDS) == (2, 1)


def test_keywords_are_passed(executor):
    assert executor.submit(dict, fn=1, self=2).result(PROMPT_SECONDS) == {"fn": 1, "self": 2}


def test_what_the_call_raises_is_the_futures(executor):
    error = ValueError("argh")
    assert executor.submit(fail, error).exception(PROMPT_SECONDS) is error


def test_calls_run_in_green_threads_of_the_submitting_os_thread(executor):
    seen = executor.submit(lambda: (threading.get_native_id(), weft.current())).result()
    assert seen[0] == threading.get_native_id()
    assert seen[1] is not weft.current()


def test_without_a_limit_all_calls_are_in_progress_at_once():
    barrier = threading.Barrier(200, timeout=PROMPT_SECONDS)
    with weft.Executor() as executor:
        futures = [executor.submit(barrier.wait) for _ in range(200)]
        assert sorted(future.result() for future in futures) == list(range(200))


def test_a_limit_is_kept_and_reached():
    running, most = 0, 0

    def call():
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.001)
        running -= 1

    with weft.Executor(3) as executor:
        for _ in range(20):
            executor.submit(call)
    assert most == 3


def test_those_that_wait_run_in_the_order_submitted(cooperative):
    order = []
    with weft.Executor(1) as executor:
        for number in range(5):
            executor.submit(order.append, number)
    assert order == list(range(5))


def test_map_gives_results_in_order(executor):
    assert list(executor.map(pow, range(5), itertools.repeat(2))) == [0, 1, 4, 9, 16]


def test_map_times_out(executor):
    gate = threading.Event()
    with pytest.raises(TimeoutError):
        next(executor.map(lambda _: gate.wait(), [1], timeout=0.002))
    gate.set()


@pytest.mark.parametrize("limit", [None, 1])
def test_each_call_sees_a_copy_of_its_submitters_context(limit):
    def read_and_write():
        before = VARIABLE.get()
        VARIABLE.set("theirs")
        return before

    def submit_twice():
        with weft.Executor(limit) as executor:
            for value in ("one", "two"):
                VARIABLE.set(value)
                yield executor.submit(read_and_write)

    context = contextvars.copy_context()
    futures = context.run(lambda: list(submit_twice()))
    assert [future.result() for future in futures] == ["one", "two"]
    assert context[VARIABLE] == "two"


def test_a_call_that_has_not_begun_can_be_cancelled():
    gate = threading.Event()
    with weft.Executor(1) as executor:
        executor.submit(gate.wait)
        never = executor.submit(pytest.fail)
        assert never.cancel()
        gate.set()
    assert never.cancelled()


def test_shutdown_waits_for_what_was_submitted():
    done = []
    executor = weft.Executor(2)
    for number in range(6):
        executor.submit(lambda number=number: (time.sleep(0.001), done.append(number)))
    executor.shutdown()
    assert sorted(done) == list(range(6))


def test_shutdown_need_not_wait():
    gate = threading.Event()
    executor = weft.Executor()
    future = executor.submit(gate.wait)
    executor.shutdown(wait=False)
    assert not future.done()
    gate.set()
    assert future.result(PROMPT_SECONDS)


def test_shutdown_can_cancel_what_has_not_begun():
    gate = threading.Event()
    executor = weft.Executor(1)
    first, second = executor.submit(gate.wait), executor.submit(pytest.fail)
    settle()
    executor.shutdown(wait=False, cancel_futures=True)
    gate.set()
    assert (first.result(PROMPT_SECONDS), second.cancelled()) == (True, True)


def test_after_shutdown_nothing_is_taken(executor):
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(int)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_positive(limit):
    with pytest.raises(ValueError, match="greater than 0"):
        weft.Executor(limit)


def test_green_threads_are_named():
    with weft.Executor(thread_name_prefix="pool") as executor:
        names = {executor.submit(lambda: weft.current().name).result() for _ in range(2)}
    assert names == {"pool_0", "pool_1"}


# --- Initializers ------------------------------------------------------------------------------


def test_an_initializer_is_called_in_each_green_thread(executor):
    local = threading.local()
    with weft.Executor(2, initializer=lambda value: setattr(local, "x", value), initargs=(5,)) as e:
        assert {e.submit(lambda: local.x).result() for _ in range(5)} == {5}


def test_an_executor_whose_initializer_fails_is_broken(caplog):
    with weft.Executor(1, initializer=lambda: fail(ValueError("argh"))) as executor:
        futures = [executor.submit(int) for _ in range(3)]
        for future in futures:
            assert isinstance(future.exception(PROMPT_SECONDS), concurrent.futures.BrokenExecutor)
        with pytest.raises(concurrent.futures.BrokenExecutor):
            executor.submit(int)
    assert "ValueError: argh" in caplog.text


def test_an_initializer_must_be_callable():
    with pytest.raises(TypeError):
        weft.Executor(initializer=5)


# --- With others -------------------------------------------------------------------------------


def test_the_standard_library_waits_for_its_futures(executor):
    futures = [executor.submit(time.sleep, 0.001) for _ in range(3)]
    assert concurrent.futures.wait(futures).not_done == set()
    assert set(concurrent.futures.as_completed(futures)) == set(futures)


def test_asyncio_runs_in_it(executor):
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            loop.run_in_executor(executor, pow, 2, 3), asyncio.wrap_future(executor.submit(int))
        )

    assert asyncio.run(main()) == [8, 0]


def test_os_threads_submit_to_the_same_executor(executor):
    def submit():
        return executor.submit(threading.get_native_id).result(PROMPT_SECONDS)

    assert in_os_thread(submit)() != submit()


def test_a_result_is_not_kept_alive(executor):
    import weakref

    class Thing:
        pass

    future = executor.submit(Thing)
    kept = weakref.ref(future.result())
    del future
    settle()
    assert kept() is None


# --- The end of the program --------------------------------------------------------------------


def test_the_program_waits_for_what_was_submitted():
    seen = run_program(
        """
weft.set_preemption(None)  # both are submitted before the program ends
executor = weft.Executor(1)
def call():
    threading.current_thread()
    time.sleep(0.01)
    print("done", flush=True)
weft.spawn(lambda: [executor.submit(call) for _ in range(2)]).daemon = True
weft.yield_now()
"""
    )
    assert (seen.status, seen.output, seen.errors) == (0, "done\ndone\n", "")


def test_nothing_is_taken_once_the_program_ends():
    seen = run_program(
        """
executor = weft.Executor()
def later():
    time.sleep(0.01)
    try:
        executor.submit(int)
    except RuntimeError as error:
        print(error)
weft.spawn(later)
weft.yield_now()
"""
    )
    assert (seen.status, seen.output) == (
        0,
        "cannot schedule new futures after interpreter shutdown\n",
    )


def test_a_program_that_does_not_ask_for_it_does_not_meet_concurrent_futures():
    seen = run_program("print('concurrent.futures' in sys.modules)")
    assert seen.output == "False\n"
