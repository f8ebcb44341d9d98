"""CPython's own tests of executors, applied to weft.Executor: those that hold for every executor.

They come with the interpreter that runs (from 3.12 on, as a package), in its package `test`; where
they are left out, so are these.  They sleep for seconds to give others time; here that is virtual.
"""

import threading

import pytest

import weft
import weft.testing

util = pytest.importorskip("test.test_concurrent_futures.util")
executor = pytest.importorskip("test.test_concurrent_futures.executor")
test_as_completed = pytest.importorskip("test.test_concurrent_futures.test_as_completed")
test_init = pytest.importorskip("test.test_concurrent_futures.test_init")
test_shutdown = pytest.importorskip("test.test_concurrent_futures.test_shutdown")
test_thread_pool = pytest.importorskip("test.test_concurrent_futures.test_thread_pool")
test_wait = pytest.importorskip("test.test_concurrent_futures.test_wait")


class Green(util.ExecutorMixin):
    """Green threads, those that tests start as well, and time that costs none."""

    executor_type = weft.Executor

    def setUp(self):
        weft.install()
        self.addCleanup(weft.uninstall)
        self.enterContext(weft.testing.virtual_clock())
        super().setUp()

    def create_event(self):
        """What tests are given from 3.14 on."""
        return threading.Event()


class ExecutorTest(Green, executor.ExecutorTest, util.BaseTestCase):
    test_map_submits_without_iteration = (
        test_thread_pool.ThreadPoolExecutorTest.test_map_submits_without_iteration
    )


class WaitTest(Green, test_wait.WaitTests, util.BaseTestCase):
    pass


class AsCompletedTest(Green, test_as_completed.AsCompletedTests, util.BaseTestCase):
    pass


class InitializerTest(Green, test_init.InitializerMixin, util.BaseTestCase):
    pass


class FailingInitializerTest(Green, test_init.FailingInitializerMixin, util.BaseTestCase):
    pass


class ShutdownTest(Green, test_shutdown.ExecutorShutdownTest, util.BaseTestCase):
    # They write programs that import the executor from concurrent.futures.
    test_interpreter_shutdown = None
    test_submit_after_interpreter_shutdown = None
    test_hang_gh83386 = None
    test_hang_gh94440 = None
