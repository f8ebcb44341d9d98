"""The models keep their promises, above all where the books' own programs break theirs."""

import selectors
import socket
import threading

import pytest
from support import PROMPT_SECONDS, in_os_thread

from weft.models.async_await import go
from weft.models.callbacks import Runtime
from weft.models.clock import Clock, Parker, VirtualClock
from weft.models.executor import Executor
from weft.models.futures import PENDING, Coroutine, JoinAll, Then, Timer
from weft.models.green import Runtime as GreenRuntime
from weft.models.node import Loop
from weft.models.node_calls import http_get, read_file
from weft.models.promises import Promise, State, join_all, timer
from weft.models.reactor import Reactor
from weft.models.threads import Thread


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def record():
    return []


# --- clock --------------------------------------------------------------------------------


def test_an_unpark_before_the_park_is_kept():
    parker = Parker(Clock())
    parker.unpark()
    assert parker.park() is True


def test_several_unparks_count_as_one(clock):
    parker = Parker(clock)
    parker.unpark()
    parker.unpark()
    assert parker.park(deadline=1) is True
    assert parker.park(deadline=1) is False


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_sleep_of_nothing_returns(clock, seconds):
    Clock().sleep(seconds)
    clock.sleep(seconds)
    assert clock.now() == 0


def test_real_time_passes():
    clock = Clock()
    clock.sleep(0.002)
    assert clock.now() >= 0.002


def test_virtual_time_stands_still_while_somebody_runs(clock, record):
    gate = threading.Event()
    runs = Thread(clock, lambda: (gate.wait(PROMPT_SECONDS), record.append(clock.now())))
    sleeps = Thread(clock, lambda: clock.sleep(1))
    gate.set()
    runs.join()
    sleeps.join()
    assert record == [0]
    assert clock.now() == 1


def test_when_nothing_can_happen_everybody_is_told(clock):
    other = Thread(clock, lambda: Parker(clock).park())
    with pytest.raises(RuntimeError, match="nothing that will happen"):
        other.join()


# --- threads ------------------------------------------------------------------------------


def test_join_returns_and_raises(clock):
    assert Thread(clock, lambda: 42).join() == 42
    with pytest.raises(ZeroDivisionError):
        Thread(clock, lambda: 1 / 0).join()


# --- green --------------------------------------------------------------------------------


def test_there_is_always_room_for_another(record):
    runtime = GreenRuntime()
    for number in range(100):
        runtime.spawn(lambda number=number: record.append(number))
    runtime.run()
    assert record == list(range(100))


def test_a_slot_is_used_again():
    runtime = GreenRuntime()
    for _ in range(3):
        assert runtime.spawn(lambda: None) == 1
        runtime.run()
    assert runtime.size == 2


def test_what_a_green_thread_raises_comes_out_of_run(record):
    runtime = GreenRuntime()
    runtime.spawn(lambda: 1 / 0)
    runtime.spawn(lambda: record.append("ran"))
    with pytest.raises(ZeroDivisionError):
        runtime.run()
    assert record == ["ran"]


# --- callbacks ----------------------------------------------------------------------------


def test_equal_timers_are_called_in_their_order(clock, record):
    def program():
        for number in range(5):
            runtime.set_timeout(10, lambda number=number: record.append(number))

    runtime = Runtime(clock)
    runtime.run(program)
    assert record == [0, 1, 2, 3, 4]


def test_a_cleared_timer_is_not_called_and_not_waited_for(clock, record):
    def program():
        runtime.set_timeout(10, lambda: record.append("kept"))
        runtime.clear_timeout(runtime.set_timeout(1000, lambda: record.append("cleared")))

    runtime = Runtime(clock)
    runtime.run(program)
    assert (record, clock.now()) == (["kept"], 0.010)


def test_numbers_of_timers_are_unique(clock):
    runtime = Runtime(clock)
    numbers = [runtime.set_timeout(0, lambda: None) for _ in range(100)]
    assert len(set(numbers)) == 100


# --- promises -----------------------------------------------------------------------------


def run_promises(clock, program):
    runtime = Runtime(clock)
    runtime.run(lambda: program(runtime))


def test_a_promise_is_eager(clock, record):
    run_promises(clock, lambda runtime: Promise(runtime, lambda *_: record.append("begun")))
    assert record == ["begun"]


def test_a_promise_settles_once(clock, record):
    def program(runtime):
        def executor(resolve, reject):
            resolve(1)
            resolve(2)
            reject(ValueError())

        promise = Promise(runtime, executor)
        assert promise.state is State.FULFILLED
        promise.then(record.append)

    run_promises(clock, program)
    assert record == [1]


def test_then_is_never_called_at_once(clock, record):
    def program(runtime):
        Promise(runtime, lambda resolve, _: resolve("later")).then(record.append)
        record.append("now")

    run_promises(clock, program)
    assert record == ["now", "later"]


def test_a_rejection_passes_down_to_who_handles_it(clock, record):
    def program(runtime):
        (
            timer(runtime, 1)
            .then(lambda _: 1 / 0)
            .then(lambda _: record.append("skipped"))
            .catch(lambda error: type(error).__name__)
            .then(record.append)
        )

    run_promises(clock, program)
    assert record == ["ZeroDivisionError"]


def test_a_rejection_that_nobody_handles_comes_out_of_run(clock):
    with pytest.raises(ZeroDivisionError):
        run_promises(clock, lambda runtime: timer(runtime, 1).then(lambda _: 1 / 0))


def test_a_promise_cannot_wait_for_itself(clock, record):
    def program(runtime):
        promise = timer(runtime, 1).then(lambda _: promise)
        promise.catch(lambda error: record.append(str(error)))

    run_promises(clock, program)
    assert record == ["a promise cannot wait for itself"]


def test_join_all_keeps_the_order(clock, record):
    def program(runtime):
        slow = timer(runtime, 20).then(lambda _: "slow")
        quick = timer(runtime, 10).then(lambda _: "quick")
        join_all(runtime, [slow, quick]).then(record.append)
        join_all(runtime, []).then(record.append)

    run_promises(clock, program)
    assert record == [[], ["slow", "quick"]]


def test_await_raises_what_rejects(clock, record):
    async def main(runtime):
        try:
            await timer(runtime, 1).then(lambda _: 1 / 0)
        except ZeroDivisionError:
            return await helper(runtime)

    async def helper(runtime):
        await timer(runtime, 1)
        return "handled"

    run_promises(clock, lambda runtime: go(runtime, main(runtime)).then(record.append))
    assert record == ["handled"]


def test_an_async_function_has_begun_when_one_gets_it(clock, record):
    async def main():
        record.append("begun")

    def program(runtime):
        go(runtime, main())
        record.append("next")

    run_promises(clock, program)
    assert record == ["begun", "next"]


# --- reactor, futures, executor -----------------------------------------------------------


@pytest.fixture
def reactor(clock):
    with Reactor(clock) as reactor:
        yield reactor


def test_a_future_is_lazy(clock, reactor):
    future = Timer(reactor, 1, "value")
    clock.sleep(5)
    assert Executor(clock).block_on(future) == "value"
    assert clock.now() == 6


def test_only_the_newest_waker_is_called(clock, reactor, record):
    future = Timer(reactor, 1, "value")
    assert future.poll(lambda: record.append("old")) is PENDING
    assert future.poll(lambda: record.append("new")) is PENDING
    clock.sleep(2)
    assert record == ["new"]
    assert future.poll(lambda: None) == "value"


def test_waking_twice_is_harmless(clock, record):
    class Never:
        def poll(self, wake):
            record.append("polled")
            if len(record) == 1:
                wake()
                wake()
                return PENDING
            return "done"

    assert Executor(clock).block_on(Never()) == "done"
    assert record == ["polled", "polled"]


def test_waking_what_is_done_is_harmless(clock):
    wakers = []

    class Keeps:
        def poll(self, wake):
            wakers.append(wake)
            return "done"

    executor = Executor(clock)
    assert executor.block_on(Keeps()) == "done"
    wakers[0]()
    assert executor.block_on(Keeps()) == "done"


def test_a_wake_between_poll_and_sleep_is_not_lost():
    class WokenMeanwhile:
        polls = 0

        def poll(self, wake):
            self.polls += 1
            if self.polls == 1:
                in_os_thread(wake)()  # has been called when we return
                return PENDING
            return "awake"

    assert Executor(Clock()).block_on(WokenMeanwhile()) == "awake"


def test_tokens_are_unique_and_equal_times_do_no_harm(clock, reactor):
    futures = [Timer(reactor, 1, number) for number in range(50)]
    assert Executor(clock).block_on(JoinAll(futures)) == list(range(50))
    assert clock.now() == 1


def test_a_timer_of_nothing_fires(clock, reactor):
    assert Executor(clock).block_on(Timer(reactor, 0, "now")) == "now"


def test_a_chain_by_hand(clock, reactor):
    chain = Then(Timer(reactor, 1, 1), lambda value: Timer(reactor, 2, value + 1))
    assert Executor(clock).block_on(chain) == 2
    assert clock.now() == 3


def test_a_coroutine_gets_values_and_exceptions(clock, reactor):
    class Fails:
        def poll(self, wake):
            raise ZeroDivisionError

        def __await__(self):
            return (yield self)

    async def main():
        try:
            await Fails()
        except ZeroDivisionError:
            return await Timer(reactor, 1, "recovered")

    assert Executor(clock).block_on(Coroutine(main())) == "recovered"


def test_who_awaits_a_task_gets_its_failure(clock):
    async def fails():
        raise ZeroDivisionError

    async def main(executor):
        await executor.spawn(Coroutine(fails()))

    executor = Executor(clock)
    with pytest.raises(ZeroDivisionError):
        executor.block_on(Coroutine(main(executor)))


def test_two_executors_share_a_reactor(clock, reactor):
    def wait(seconds):
        return Executor(clock).block_on(Timer(reactor, seconds, seconds))

    threads = [Thread(clock, lambda seconds=seconds: wait(seconds)) for seconds in (2, 1)]
    assert [thread.join() for thread in threads] == [2, 1]
    assert clock.now() == 2


def test_a_closed_reactor_takes_nobody(clock):
    with Reactor(clock) as reactor:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        Timer(reactor, 1, None).poll(lambda: None)


# --- node ---------------------------------------------------------------------------------


def test_more_jobs_than_threads_wait_in_line(record):
    def program():
        for number in range(20):
            loop.submit(lambda number=number: number, lambda _, value: record.append(value))

    loop = Loop(pool_size=2)
    loop.run(program)
    assert sorted(record) == list(range(20))


def test_jobs_run_at_the_same_time(record):
    barrier = threading.Barrier(2)

    def program():
        for _ in range(2):
            loop.submit(lambda: barrier.wait(PROMPT_SECONDS), lambda *seen: record.append(seen))

    loop = Loop(pool_size=2)
    loop.run(program)
    assert sorted(record) == [(None, 0), (None, 1)]


def test_timers_fire_without_any_descriptor(record):
    def program():
        for ms in (2, 1, 1):
            loop.set_timeout(ms, lambda ms=ms: record.append(ms))

    loop = Loop()
    loop.run(program)
    assert record == [1, 1, 2]


def test_callbacks_are_called_in_order_and_a_turn_ends(record):
    def again():
        record.append("again")
        if len(record) < 5:
            loop.set_immediate(again)

    def program():
        loop.set_immediate(again)
        loop.set_timeout(0, lambda: record.append("timer"))

    loop = Loop()
    loop.run(program)
    assert record == ["timer", "again", "again", "again", "again"]


def test_two_wait_for_one_descriptor(pair, record):
    ours, theirs = pair
    ours.setblocking(False)

    def program():
        loop.wait_for(ours, selectors.EVENT_READ, lambda: record.append("reader"))
        loop.wait_for(ours, selectors.EVENT_READ, lambda: record.append("second reader"))
        loop.wait_for(ours, selectors.EVENT_WRITE, lambda: record.append("writer"))
        loop.set_timeout(1, lambda: theirs.send(b"!"))

    loop = Loop()
    loop.run(program)
    assert record == ["writer", "reader", "second reader"]


def test_failures_come_as_the_first_argument(tmp_path, record):
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody_listens = server.getsockname()

    def program():
        loop.submit(lambda: 1 / 0, lambda error, value: record.append((type(error), value)))
        read_file(loop, tmp_path / "none", lambda error, _: record.append(type(error)))
        http_get(loop, nobody_listens, "/", lambda error, _: record.append(type(error)))

    loop = Loop()
    loop.run(program)
    assert sorted(map(str, record)) == sorted(
        map(str, [(ZeroDivisionError, None), FileNotFoundError, ConnectionRefusedError])
    )


def test_nothing_to_do_ends_at_once(record):
    loop = Loop()
    loop.call_at_close(lambda: record.append("closed"))
    loop.run(lambda: None)
    assert record == ["closed"]
