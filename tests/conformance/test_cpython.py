"""CPython's own tests of locks and queues, applied to weft's, on OS threads and on green threads.

They come with the interpreter that runs, in its package `test`; where that is left out, so are
these.  What is left out here looks inside the classes of `threading`.
"""

import queue
import types
import unittest

import pytest

import weft

lock_tests = pytest.importorskip("test.lock_tests")
test_queue = pytest.importorskip("test.test_queue")

QUEUES = types.SimpleNamespace(
    Queue=weft.Queue,
    LifoQueue=weft.LifoQueue,
    PriorityQueue=weft.PriorityQueue,
    Empty=queue.Empty,
    Full=queue.Full,
    ShutDown=weft.ShutDown,
)


class LockTests(lock_tests.LockTests):
    locktype = staticmethod(weft.Lock)


class RLockTests(lock_tests.RLockTests):
    locktype = staticmethod(weft.RLock)


class ConditionTests(lock_tests.ConditionTests):
    condtype = staticmethod(weft.Condition)
    test_nan_timeout = None  # looks for the waiters where threading keeps them (from 3.14 on)


class SemaphoreTests(lock_tests.SemaphoreTests):
    semtype = staticmethod(weft.Semaphore)


class QueueTest(test_queue.QueueTest, unittest.TestCase):
    queue = QUEUES


class _OnGreenThreads:
    """What a test starts is green."""

    def setUp(self):
        weft.install()
        self.addCleanup(weft.uninstall)
        super().setUp()


class GreenLockTests(_OnGreenThreads, LockTests):
    pass


class GreenRLockTests(_OnGreenThreads, RLockTests):
    pass


class GreenEventTests(_OnGreenThreads, lock_tests.EventTests):
    eventtype = staticmethod(weft.Event)
    test_at_fork_reinit = None  # of the condition inside an Event
    test_reset_internal_locks = None  # its name before 3.12


class GreenConditionTests(_OnGreenThreads, ConditionTests):
    pass


class GreenConditionAsRLockTests(_OnGreenThreads, lock_tests.RLockTests):
    locktype = staticmethod(weft.Condition)
    test_constructor_noargs = None  # a condition may be given its lock
    test_recursion_count = None  # an RLock's alone
    test_release_save_unacquired = None


class GreenSemaphoreTests(_OnGreenThreads, SemaphoreTests):
    pass


class GreenBoundedSemaphoreTests(_OnGreenThreads, lock_tests.BoundedSemaphoreTests):
    semtype = staticmethod(weft.BoundedSemaphore)


class GreenBarrierTests(_OnGreenThreads, lock_tests.BarrierTests):
    barriertype = staticmethod(weft.Barrier)


class GreenQueueTest(_OnGreenThreads, QueueTest):
    pass


class GreenLifoQueueTest(_OnGreenThreads, test_queue.LifoQueueTest, unittest.TestCase):
    queue = QUEUES


class GreenPriorityQueueTest(_OnGreenThreads, test_queue.PriorityQueueTest, unittest.TestCase):
    queue = QUEUES


class GreenSimpleQueueTest(_OnGreenThreads, test_queue.BaseSimpleQueueTest, unittest.TestCase):
    queue = QUEUES

    def setUp(self):
        self.type2test = weft.SimpleQueue
        super().setUp()
