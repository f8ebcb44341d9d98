"""The suites in this folder run against each implementation of what they test."""

import queue
import threading
from types import SimpleNamespace

import pytest

import weft

STANDARD = SimpleNamespace(
    Lock=threading.Lock,
    RLock=threading.RLock,
    Condition=threading.Condition,
    Semaphore=threading.Semaphore,
    BoundedSemaphore=threading.BoundedSemaphore,
    Event=threading.Event,
    Barrier=threading.Barrier,
    local=threading.local,
    Queue=queue.Queue,
    LifoQueue=queue.LifoQueue,
    PriorityQueue=queue.PriorityQueue,
    SimpleQueue=queue.SimpleQueue,
)


@pytest.fixture(params=[STANDARD, weft], ids=["standard library", "weft"])
def lib(request):
    """The standard library's classes, under hooks; or weft's own."""
    return request.param


@pytest.fixture(params=["Queue", "LifoQueue", "PriorityQueue"])
def queue_class(lib, request):
    return getattr(lib, request.param)
