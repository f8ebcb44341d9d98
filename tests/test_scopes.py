"""Scopes: nested, shielded, with deadlines; and whatever can be done with them, against a model."""

import contextlib
import math
import socket
import threading
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support import PROMPT_SECONDS, in_os_thread, settle, wait_until

import weft

FOR_EVER = 1000  # seconds


def wait_for_ever():
    time.sleep(FOR_EVER)


# --- One scope -----------------------------------------------------------------------------


def test_a_cancelled_scope_ends_its_block():
    with weft.CancelScope() as scope:
        scope.cancel()
        wait_for_ever()
        pytest.fail("the wait was not cancelled")
    assert (scope.cancel_called, scope.cancelled_caught) == (True, True)


def test_another_thread_cancels_it():
    with weft.CancelScope() as scope:
        weft.spawn(scope.cancel)
        wait_for_ever()
    assert scope.cancelled_caught


def test_another_os_thread_cancels_it():
    with weft.CancelScope() as scope:
        done = in_os_thread(lambda: (time.sleep(0.005), scope.cancel()))
        wait_for_ever()
    assert scope.cancelled_caught
    done()


def test_it_may_be_cancelled_before_it_is_entered():
    scope = weft.CancelScope()
    scope.cancel()
    with scope:
        wait_for_ever()
    assert scope.cancelled_caught


def test_what_was_not_delivered_is_withdrawn():
    with weft.CancelScope() as scope:
        scope.cancel()
    time.sleep(0.001)
    assert (scope.cancel_called, scope.cancelled_caught) == (True, False)


def test_cancelling_a_scope_that_was_left_does_nothing():
    with weft.CancelScope() as scope:
        pass
    scope.cancel()
    time.sleep(0.001)


def test_it_is_delivered_once_so_finally_can_wait():
    record = []
    with weft.CancelScope() as scope:
        scope.cancel()
        try:
            wait_for_ever()
        finally:
            time.sleep(0.001)
            record.append("waited")
    assert (record, scope.cancelled_caught) == (["waited"], True)


def test_other_exceptions_pass():
    with pytest.raises(ZeroDivisionError), weft.CancelScope() as scope:
        scope.cancel()
        with contextlib.suppress(weft.Cancelled):
            wait_for_ever()
        1 / 0
    assert not scope.cancelled_caught


def test_a_cancelled_of_ones_own_passes():
    with pytest.raises(weft.Cancelled), weft.CancelScope():
        raise weft.Cancelled


def test_it_is_for_one_use():
    with weft.CancelScope() as scope:
        pass
    with pytest.raises(RuntimeError, match="only once"):
        scope.__enter__()
    with pytest.raises(RuntimeError, match="left once"):
        scope.__exit__(None, None, None)


def test_it_is_left_by_who_entered_it():
    scope = weft.CancelScope()
    weft.spawn(scope.__enter__).join()
    with pytest.raises(RuntimeError, match="the green thread that entered it"):
        scope.__exit__(None, None, None)


def test_a_scope_in_a_generator_that_is_dropped_is_gone():
    def generate():
        with weft.CancelScope() as scope:
            yield scope

    generator = generate()
    scope = next(generator)
    del generator
    scope.cancel()
    time.sleep(0.001)


def test_scopes_may_be_left_in_any_order():
    outer, inner = weft.CancelScope(), weft.CancelScope()
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    outer.cancel()
    time.sleep(0.001)
    inner.cancel()
    with pytest.raises(weft.Cancelled):
        time.sleep(1)
    assert inner.__exit__(weft.Cancelled, weft.Cancelled(), None)


def test_its_repr_says_how_it_is():
    scope = weft.CancelScope(shield=True)
    assert repr(scope) == "<CancelScope shielding>"
    with scope:
        scope.cancel()
        assert repr(scope) == "<CancelScope entered cancelled shielding>"
    assert repr(weft.timeout(1)) == "<timeout>"


@pytest.mark.parametrize("arguments", [{"deadline": "x"}, {"deadline": math.nan}, {"sheild": True}])
def test_wrong_arguments(arguments):
    with pytest.raises((TypeError, ValueError)):
        weft.CancelScope(**arguments)


# --- Nested --------------------------------------------------------------------------------


def test_the_outer_one_ends_both():
    with weft.CancelScope() as outer:
        with weft.CancelScope() as inner:
            outer.cancel()
            wait_for_ever()
        pytest.fail("the inner scope caught what was not meant for it")
    assert (outer.cancelled_caught, inner.cancelled_caught) == (True, False)


def test_the_inner_one_ends_itself():
    with weft.CancelScope() as outer:
        with weft.CancelScope() as inner:
            inner.cancel()
            wait_for_ever()
        time.sleep(0.001)
    assert (outer.cancelled_caught, inner.cancelled_caught) == (False, True)


def test_both_end_at_the_outer_one():
    with weft.CancelScope() as outer:
        with weft.CancelScope() as inner:
            inner.cancel()
            outer.cancel()
            wait_for_ever()
        pytest.fail("the outer scope is cancelled as well")
    assert (outer.cancelled_caught, inner.cancelled_caught) == (True, False)


def test_a_timeout_in_finally_is_its_own():
    """The outer cancellation has been delivered; a scope entered afterwards ends only itself."""
    record = []
    with weft.CancelScope() as outer:
        outer.cancel()
        try:
            wait_for_ever()
        finally:
            with weft.move_on_after(0.001) as inner:
                wait_for_ever()
            record.append("cleaned up")
    assert record == ["cleaned up"]
    assert (outer.cancelled_caught, inner.cancelled_caught) == (True, True)


def test_an_inner_deadline_does_not_swallow_the_outer_cancellation():
    """Both were entered before, so what comes out of the inner one is the outer one's too."""
    with weft.CancelScope() as outer:
        with weft.CancelScope() as inner:
            outer.cancel()
            try:
                wait_for_ever()
            finally:
                inner.cancel()
                wait_for_ever()
        pytest.fail("the outer cancellation was lost")
    assert outer.cancelled_caught


def test_the_thread_is_outside_of_all_scopes():
    def run():
        with weft.CancelScope() as scope:
            scopes.append(scope)
            wait_for_ever()
        pytest.fail("the scope caught what was meant for the thread")

    scopes = []
    thread = weft.spawn(run)
    settle()
    thread.cancel()
    thread.join(PROMPT_SECONDS)
    assert (thread.cancelled(), scopes[0].cancelled_caught) == (True, False)


def test_green_threads_spawned_inside_are_on_their_own():
    with weft.CancelScope() as scope:
        thread = weft.spawn(time.sleep, 0.002)
        scope.cancel()
        wait_for_ever()
    assert thread.result() is None


# --- Shields -------------------------------------------------------------------------------


def test_a_shield_puts_it_off():
    record = []
    with weft.CancelScope() as outer:
        with weft.CancelScope(shield=True):
            outer.cancel()
            time.sleep(0.001)
            record.append("shielded")
        wait_for_ever()
    assert (record, outer.cancelled_caught) == (["shielded"], True)


def test_a_shield_keeps_the_threads_cancellation_out():
    record = []

    def run():
        with weft.CancelScope(shield=True):
            weft.sleep(0.002)
            record.append("shielded")
        wait_for_ever()

    thread = weft.spawn(run)
    settle()
    thread.cancel()
    thread.join(PROMPT_SECONDS)
    assert (record, thread.cancelled()) == (["shielded"], True)


def test_a_shield_does_not_keep_out_its_own():
    with weft.CancelScope(shield=True, deadline=time.monotonic() + 0.001) as scope:
        wait_for_ever()
    assert scope.cancelled_caught


def test_a_shield_can_be_lowered_while_somebody_waits():
    def run():
        with weft.CancelScope(shield=True) as scope:
            scopes.append(scope)
            wait_for_ever()

    scopes = []
    thread = weft.spawn(run)
    settle()
    thread.cancel()
    settle()
    assert thread.is_alive()
    assert scopes[0].shield
    scopes[0].shield = False
    thread.join(PROMPT_SECONDS)
    assert thread.cancelled()


# --- Deadlines -----------------------------------------------------------------------------


def test_timeout_raises():
    began = time.monotonic()
    with pytest.raises(TimeoutError) as info, weft.timeout(0.005):
        wait_for_ever()
    assert 0.005 <= time.monotonic() - began < 1
    assert isinstance(info.value.__cause__, weft.Cancelled)


def test_timeout_at_raises():
    with pytest.raises(TimeoutError), weft.timeout_at(time.monotonic() + 0.002):
        wait_for_ever()


def test_move_on_after_moves_on():
    with weft.move_on_after(0.002) as scope:
        wait_for_ever()
    assert (scope.cancelled_caught, scope.cancel_called) == (True, True)


@pytest.mark.parametrize("scope", [weft.timeout, weft.move_on_after])
def test_what_is_quick_enough_is_not_ended(scope):
    with scope(FOR_EVER) as it:
        time.sleep(0.001)
    assert (it.cancelled_caught, it.cancel_called) == (False, False)


@pytest.mark.parametrize("seconds", [0, -1, 1e-9])
def test_no_time_at_all(seconds):
    with pytest.raises(TimeoutError), weft.timeout(seconds):
        wait_for_ever()


@pytest.mark.parametrize("scope", [weft.timeout, weft.timeout_at, weft.move_on_after])
def test_none_is_no_limit(scope):
    with scope(None) as it:
        time.sleep(0.001)
    assert it.deadline == math.inf


def test_a_timeout_that_is_cancelled_raises_nothing():
    with weft.timeout(FOR_EVER) as scope:
        scope.cancel()
        wait_for_ever()
    assert scope.cancelled_caught


def test_the_outer_timeout_raises_though_the_inner_one_is_longer():
    with pytest.raises(TimeoutError), weft.timeout(0.002), weft.move_on_after(FOR_EVER) as inner:
        wait_for_ever()
    assert not inner.cancelled_caught


def test_the_deadline_is_that_of_the_monotonic_clock():
    before = time.monotonic()
    assert before + 1 <= weft.timeout(1).deadline <= time.monotonic() + 1
    assert weft.timeout_at(before).deadline == pytest.approx(before, abs=1e-6)


def test_it_can_be_moved_nearer_while_somebody_waits():
    def run():
        with weft.move_on_after(FOR_EVER) as scope:
            scopes.append(scope)
            wait_for_ever()
        return scope.cancelled_caught

    scopes = []
    thread = weft.spawn(run)
    settle()
    scopes[0].deadline = time.monotonic() + 0.001
    assert thread.result(PROMPT_SECONDS)


def test_it_can_be_moved_away_while_somebody_waits():
    def run():
        with weft.move_on_after(0.01) as scope:
            scopes.append(scope)
            time.sleep(0.03)
        return scope.cancelled_caught

    scopes = []
    thread = weft.spawn(run)
    settle()
    scopes[0].deadline = None
    assert thread.result(PROMPT_SECONDS) is False


def test_it_can_be_moved_by_another_os_thread():
    def move():
        wait_until(lambda: scopes)
        time.sleep(0.002)
        scopes[0].deadline = 0

    scopes = []
    moved = in_os_thread(move)
    with weft.move_on_after(FOR_EVER) as scope:
        scopes.append(scope)
        wait_for_ever()
    moved()
    assert scope.cancelled_caught


def test_many_timeouts_at_once():
    def wait(seconds):
        with weft.move_on_after(seconds) as scope:
            lock.acquire()
        return scope.cancelled_caught

    lock = threading.Lock()
    with lock:
        threads = [weft.spawn(wait, n / 50_000) for n in range(500)]
        assert all(thread.result(PROMPT_SECONDS) for thread in threads)
    assert not lock.locked()


def test_what_comes_in_time_is_not_lost():
    """Data and deadline at the same moment, again and again: what was read is returned."""
    left, right = socket.socketpair()
    sent = received = 0
    with left, right:
        for n in range(300):
            weft.spawn(lambda pause: (weft.sleep(pause), right.send(b"x")), n * 1e-6)
            sent += 1
            with weft.move_on_after(150e-6):
                received += len(left.recv(1))
        weft.sleep(0.002)
        left.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            received += len(left.recv(1000))
    assert received == sent


# --- Against a model -----------------------------------------------------------------------


class Model:
    """What a scope is, in the words of the documentation; and the thread, as the outermost."""

    def __init__(self, entered, shield=False):
        self.entered = entered
        self.shield = shield
        self.called = False
        self.expires = False  # its deadline has come
        self.reached = None  # which delivery reached it

    @property
    def due(self):
        return (self.called or self.expires) and self.reached is None


class Scopes(RuleBasedStateMachine):
    """The running green thread enters, cancels, shields, waits, and leaves, in any order."""

    def __init__(self):
        super().__init__()
        self.deliveries = 0
        self.thread = Model(0)
        self.models = []  # outermost first
        self.scopes = []

    def visible(self, models):
        """From the innermost out, to the first that shields; the thread, if none does."""
        for model in reversed(models):
            yield model
            if model.shield:
                return
        yield self.thread

    def deliver(self, models):
        reached = [model for model in self.visible(models) if model.due]
        if reached:
            self.deliveries += 1
        for model in reached:
            model.called, model.reached = True, self.deliveries
        return bool(reached)

    def belongs_to_innermost(self):
        """Does a cancellation that comes out of the innermost scope end there?"""
        *outside, model = self.models
        if model.reached is None and not model.due:
            return False
        model.called = True
        model.reached = model.reached or self.deliveries + 1
        if model.shield:
            return True
        self.deliver(outside)
        return not any((m.reached or 0) > model.entered for m in self.visible(outside))

    def leave(self, error):
        """Leave the innermost scope with `error` in flight; what is in flight then."""
        absorbs = error is not None and self.belongs_to_innermost()
        model, scope = self.models.pop(), self.scopes.pop()
        assert bool(scope.__exit__(error and type(error), error, None)) == absorbs
        assert scope.cancelled_caught == absorbs
        assert scope.cancel_called == model.called
        return None if absorbs else error

    @rule(shield=st.booleans())
    def enter(self, shield):
        self.models.append(Model(self.deliveries, shield))
        self.scopes.append(weft.CancelScope(shield=shield).__enter__())

    @precondition(lambda self: self.scopes)
    @rule(data=st.data(), what=st.sampled_from(["cancel", "expire", "renew", "shield", "lower"]))
    def change(self, data, what):
        n = data.draw(st.integers(0, len(self.scopes) - 1))
        scope, model = self.scopes[n], self.models[n]
        if what == "cancel":
            scope.cancel()
            model.called = True
        elif what in ("expire", "renew"):
            scope.deadline = 0 if what == "expire" else None
            model.expires = what == "expire"
        else:
            scope.shield = model.shield = what == "shield"

    @rule()
    def cancel_the_thread(self):
        weft.current().cancel()
        self.thread.called, self.thread.reached = True, None

    @rule(levels=st.integers(0, 3), wait=st.sampled_from([weft.yield_now, lambda: time.sleep(0)]))
    def wait(self, levels, wait):
        """Somebody `levels` scopes further out catches it, unless it ends before."""
        expected = self.deliver(self.models)
        try:
            wait()
        except weft.Cancelled as caught:
            error = caught
        else:
            error = None
        assert (error is not None) == expected
        while error is not None and levels > 0 and self.scopes:
            error = self.leave(error)
            levels -= 1

    @precondition(lambda self: self.scopes)
    @rule()
    def leave_in_peace(self):
        model, scope = self.models.pop(), self.scopes.pop()
        assert not scope.__exit__(None, None, None)
        assert scope.cancel_called == (model.called or False)

    @invariant()
    def flags_agree(self):
        for scope, model in zip(self.scopes, self.models, strict=True):
            assert scope.cancel_called == (model.called or model.expires)
            assert scope.shield == model.shield

    def teardown(self):
        while self.scopes:
            self.models.pop()
            self.scopes.pop().__exit__(None, None, None)
        with contextlib.suppress(weft.Cancelled):
            weft.yield_now()


def run_machine():
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Scopes,
        settings=settings(
            max_examples=200, stateful_step_count=40, deadline=None, database=None, derandomize=True
        ),
    )


@pytest.mark.slow
def test_any_sequence_against_the_model(cooperative):
    """In a green thread of its own, so that each example may cancel it."""
    weft.spawn(run_machine).result()
