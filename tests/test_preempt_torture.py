"""Preemption where CPython is delicate: destructors, weak references, the collector, generators.

Several green threads do the same delicate thing with a slice of 50 microseconds, again and again
until they have been preempted often enough, and count; the counts must be right.
"""

import gc
import sys
import time
import weakref

import pytest
from support import run_program, together

import weft

SLICE = 0.00005
THREADS = 4
ROUNDS = 50
PREEMPTIONS = 100


@pytest.fixture(autouse=True)
def tiny_slices():
    before = weft.get_preemption()
    weft.set_preemption(SLICE)
    yield
    weft.set_preemption(before)


def compute(steps=60):
    """Long enough for a slice to end in it, now and then."""
    total = 0
    for step in range(steps):
        total += step
    return total


def in_turn(fn, expected):
    """Several green threads call `fn` until they have preempted one another often.  How often?"""
    enough = weft.statistics().switches + PREEMPTIONS

    def repeat():
        calls = 0
        while weft.statistics().switches < enough:
            assert fn() == expected
            calls += 1
        return calls

    return sum(together(*[repeat] * THREADS))


class Chained:
    """Each holds the next: one deallocation is nested in another."""

    def __init__(self, count, ended):
        self.ended = ended
        self.next = Chained(count - 1, ended) if count > 1 else None

    def __del__(self):
        self.ended.append(compute())


def test_nested_destructors():
    def run():
        ended = []
        for _ in range(ROUNDS):
            Chained(20, ended)
        return len(ended)

    in_turn(run, 20 * ROUNDS)


def test_deep_containers_of_objects_with_destructors():
    class Ending:
        def __init__(self, ended):
            self.ended = ended

        def __del__(self):
            self.ended.append(compute(10))

    def run():
        ended = []
        for _ in range(ROUNDS // 10):
            nest = None
            for _ in range(300):  # deeper than CPython deallocates in one go
                nest = [nest, (Ending(ended),)]
            del nest
        return len(ended)

    in_turn(run, 300 * (ROUNDS // 10))


def test_destructors_of_objects_shared_by_all():
    ended = []
    shared = []

    def run():
        for _ in range(ROUNDS):
            shared.append(Chained(3, ended))
            compute()
            if len(shared) > 5:
                shared.clear()

    calls = in_turn(run, None)
    shared.clear()
    assert len(ended) == 3 * ROUNDS * calls


def test_weak_reference_callbacks():
    class Thing:
        pass

    def run():
        called = []
        for _ in range(ROUNDS):
            thing = Thing()
            references = [weakref.ref(thing, lambda _: called.append(compute())) for _ in range(10)]
            del thing
            assert [reference() for reference in references] == [None] * 10
        return len(called)

    in_turn(run, 10 * ROUNDS)


def test_finalizers_and_weak_dictionaries():
    class Thing:
        pass

    seen = weakref.WeakValueDictionary()

    def run():
        called = []
        number = weft.current().ident
        for step in range(ROUNDS):
            thing = Thing()
            seen[number, step] = thing
            weakref.finalize(thing, lambda: called.append(compute()))
            compute()
            assert seen[number, step] is thing
            del thing
            assert (number, step) not in seen
        return len(called)

    in_turn(run, ROUNDS)


def test_cycles_collected_by_everybody():
    ended = []

    class Cycle:
        def __init__(self):
            self.me = self

        def __del__(self):
            ended.append(compute())

    def run():
        for generation in (0, 1, 0, 2):
            for _ in range(10):
                Cycle()
            compute()
            gc.collect(generation)

    calls = in_turn(run, None)
    gc.collect()
    assert len(ended) == 40 * calls


def test_callbacks_of_the_collector():
    phases = []

    def callback(phase, info):
        phases.append(phase)
        compute()

    def run():
        for _ in range(ROUNDS):
            gc.collect(0)
            compute()

    gc.disable()
    gc.callbacks.append(callback)
    try:
        in_turn(run, None)
    finally:
        gc.callbacks.remove(callback)
        gc.enable()
    # One who collects while another one does returns at once: start and stop never nest.
    assert phases[::2] == ["start"] * (len(phases) // 2)
    assert phases[1::2] == ["stop"] * (len(phases) // 2)


def test_generators_closed_while_others_run():
    def generate(closed):
        try:
            for step in range(1000):
                compute(5)
                yield step
        finally:
            closed.append(compute())

    def run():
        closed = []
        for rounds in range(ROUNDS):
            generators = [generate(closed) for _ in range(5)]
            for generator in generators:
                assert [next(generator) for _ in range(3)] == [0, 1, 2]
            generators[0].close()
            with pytest.raises(KeyError):
                generators[1].throw(KeyError)
            generator = None
            del generators  # the rest are closed by their destructors
            assert len(closed) == 5 * (rounds + 1)
        return len(closed)

    in_turn(run, 5 * ROUNDS)


def test_exceptions_that_keep_frames_alive():
    def fail(depth):
        if depth:
            fail(depth - 1)
        compute()
        raise ValueError(depth)

    def run():
        kept = []
        for _ in range(ROUNDS):
            try:
                fail(10)
            except ValueError as error:
                kept.append(error)
                if len(kept) > 10:
                    kept.clear()

    in_turn(run, None)


def test_green_threads_that_end_inside_the_destructors_of_others():
    ended = []

    class Spawning:
        def __del__(self):
            weft.spawn(compute).join()
            ended.append(1)

    def run():
        for _ in range(10):
            Spawning()
            compute()

    calls = in_turn(run, None)
    assert len(ended) == 10 * calls


def test_on_another_os_thread_and_without_a_leak_of_threads():
    seen = run_program(
        """
import gc
import sys
weft.set_preemption(0.00005)
ended = []
class Cycle:
    def __init__(self):
        self.me = self
    def __del__(self):
        for _ in range(50):
            pass
        ended.append(1)
def run():
    for _ in range(100):
        Cycle()
        gc.collect(0)
def program():
    threads = [weft.spawn(run) for _ in range(4)]
    for thread in threads:
        thread.join()
os_threads = [threading.Thread(target=program) for _ in range(2)]
for thread in os_threads:
    thread.start()
for thread in os_threads:
    thread.join()
gc.collect()
print(len(ended), len(weft.all_threads()))
""",
        timeout=60,
    )
    assert (seen.status, seen.output.split()[0], seen.errors) == (0, "800", "")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="CPython does not count there")
def test_nobody_is_preempted_inside_a_destructor():
    weft.set_preemption(0.001)
    done = []

    class Slow:
        def __del__(self):
            end = time.monotonic() + 0.03
            while time.monotonic() < end:
                pass
            done.append("destructor")

    thread = weft.spawn(done.append, "other")
    Slow()
    thread.join()
    assert done == ["destructor", "other"]
