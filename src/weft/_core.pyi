"""The compiled part of weft: green threads, the scheduler and the hooks on libc.

Import the public names from `weft`.  What starts with an underscore is for weft's own Python.

"Parks" below means: the calling green thread may stop here and others run meanwhile.  A function
that is not said to park never lets another green thread of the same OS thread run, so what it
looks at cannot change under the caller.  Everything here may be called from any OS thread that
runs Python; times are relative and in seconds, fractions allowed.
"""

import _thread
from asyncio import AbstractEventLoop, Handle, Task, TimerHandle
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from threading import Thread
from types import CodeType, FrameType, TracebackType
from typing import (
    Any,
    Final,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    final,
    overload,
)

from _typeshed import structseq
from typing_extensions import disjoint_base

_P = ParamSpec("_P")
_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_ExceptionReporter: TypeAlias = Callable[[GreenThread[Any], BaseException], None]
_StallReporter: TypeAlias = Callable[
    [GreenThread[Any] | None, int, float, str, str, list[tuple[CodeType, int]]], None
]
"""Its handle, if `spawn` made it; ident, seconds, why, native function; stack, innermost first."""

@final
class GreenThread(Generic[_T_co]):
    """A function running, or due to run, on a stack and a Python thread state of its own.

    Made by `spawn`.  `current` and `all_threads` also hand out one for each green thread that
    `threading.Thread` made while `install` was in force, and `current` one for what an OS thread
    was doing before; these have no result of their own: when done, `result` is None.

    It stays on the OS thread that spawned it for its whole life.
    """

    name: str
    """What reports call it: "green-1 (greet)", "green-2 (greet)", ... until set."""

    daemon: bool
    """False: the interpreter waits for it at exit.  Taken from the green thread that spawned it.

    May be set while it is alive; RuntimeError afterwards, and if `spawn` did not make it."""

    @property
    def ident(self) -> int:
        """What `threading.get_ident` returns inside it.  Unique while it is alive; reused after."""

    def is_alive(self) -> bool:
        """Is it spawned and not done?"""

    def cancel(self) -> bool:
        """Raise `Cancelled` in it, once.  True, or False if it is done already.  Does not park.

        It is raised in what it waits for now or will wait for next, or between two bytecodes when
        it has used up a time slice; one that has not begun never calls its function.  Called again
        after that, raises it again.  May be called from any thread, and for any green thread, those
        of `threading.Thread` and the main one included.

        Not raised inside a scope that shields, until that is left.
        """

    def cancelled(self) -> bool:
        """Is it done, and did `Cancelled` end it?

        Then `result` and `exception` raise `concurrent.futures.CancelledError`, whose cause is the
        `Cancelled`, and nothing is reported.  False for those that `spawn` did not make.
        """

    def done(self) -> bool:
        """Has its function returned or raised?  The opposite of `is_alive`."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until it is done, or for `timeout` seconds.  Parks.

        Returns None either way, as `threading.Thread.join` does: ask `is_alive` which it was.
        A negative timeout counts as 0.  Never raises what the function raised, and does not count
        as collecting it: see `spawn`.

        Raises RuntimeError when a green thread joins itself.
        """

    def result(self, timeout: float | None = None) -> _T_co:
        """Wait until it is done and return what its function returned.  Parks.

        Raises what the function raised (the same exception each time), TimeoutError when it is
        not done after `timeout` seconds, and RuntimeError when a green thread waits for itself.
        If it was cancelled: see `cancelled`.
        """

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait until it is done and return what its function raised, or None.  Parks.

        Raises TimeoutError when it is not done after `timeout` seconds, and RuntimeError when a
        green thread waits for itself.  If it was cancelled: see `cancelled`.
        """

    def add_done_callback(self, fn: Callable[[GreenThread[_T_co]], object], /) -> None:
        """Call ``fn(self)`` when it is done; at once, in the caller, if it is already.

        Callbacks are called in the green thread that ends, in the order they were added, before
        those who wait for its end run, and may park.  In them `done` is true and `result` and
        `exception` do not park; one that calls either has collected the exception (see `spawn`).
        What a callback raises goes to `sys.unraisablehook`, and the others are called all the same.
        If it never began, for lack of memory, the main green thread calls them.

        Raises RuntimeError if it is alive and was not made by `spawn`.  Does not park.
        """

    @classmethod
    def __class_getitem__(cls, item: Any, /) -> Any: ...

class Cancelled(BaseException):
    """Raised in a green thread that is cancelled, or in a scope that is.

    Raised once for each cancellation, so what catches it can wait again, in `finally` say.  Code
    that catches it must raise it again: it is what ends the scope, or the green thread.

    In C code that waits, the call fails first: with EINTR, then with ECANCELED.  CPython's own
    raises `Cancelled` at once; another library's error becomes its `__context__`.
    """

@final
class CancelScope:
    """A block of code that can be cancelled.  A context manager, to be used once.

    ``with weft.CancelScope() as scope: ...`` and, elsewhere, ``scope.cancel()``.

    What waits in the block, or will, raises `Cancelled`; so does Python code that has run for a
    time slice.  At the block's end the scope catches it, if it was meant for this scope; if what is
    outside is cancelled as well, it passes.  A cancellation that was not delivered before the
    block ends is forgotten.

    A scope belongs to the green thread that entered it.  The green threads spawned in the block are
    not cancelled with it; those of a `TaskGroup` in it are.
    """

    deadline: float
    """When it is cancelled, in seconds of `time.monotonic`; `math.inf`: never.

    Settable, also by others while the block runs."""

    shield: bool
    """Cancellations from outside wait until the block ends: of scopes around it, and of the green
    thread.  Its own does not.  Settable."""

    def __new__(cls, *, deadline: float | None = None, shield: bool = False) -> CancelScope: ...
    def cancel(self) -> None:
        """Cancel the block.  From any thread, also before it is entered.  Does not park."""

    @property
    def cancel_called(self) -> bool:
        """Has `cancel` been called, or has its deadline come while the block ran?"""

    @property
    def cancelled_caught(self) -> bool:
        """Did the block end because it was cancelled?"""

    def __enter__(self) -> CancelScope:
        """Raises RuntimeError if it was entered before.  Switches the hooks on.  Does not park."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool:
        """Raises RuntimeError in another green thread than entered it.  Does not park."""

def timeout(seconds: float | None, /) -> CancelScope:
    """A scope whose block may take `seconds`, and else raises TimeoutError; None: no limit.

    The TimeoutError's cause is the `Cancelled` that ended the block, or a C library's error.  If it
    is the scope's `cancel` that ended it, nothing is raised.  Seconds are counted from this call.
    """

def timeout_at(when: float | None, /) -> CancelScope:
    """As `timeout`, until `time.monotonic` reaches `when`."""

def move_on_after(seconds: float | None, /) -> CancelScope:
    """A scope whose block may take `seconds`, and then ends; `cancelled_caught` tells if it did."""

class Guarded:
    """A context manager whose subclass has ``_enter()`` and ``_exit(exception)``.

    In these the running green thread is not preempted, so that `Cancelled` is raised there in waits
    only.
    """

    def __enter__(self) -> Any: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> Any: ...

@final
class Statistics(structseq[int], tuple[int, int, int, int, int, int, int, int, int, int, int, int]):
    """What `statistics` returns: counts since the program began, of all OS threads together."""

    __match_args__: Final = (
        "started",
        "alive",
        "peak_alive",
        "runnable",
        "switches",
        "parks",
        "polls",
        "offloads",
        "os_threads",
        "hooked_symbols",
        "hooked_slots",
        "hooked_objects",
    )

    @property
    def started(self) -> int:
        """Green threads started, by `spawn` and by `threading.Thread`."""

    @property
    def alive(self) -> int:
        """Green threads alive now."""

    @property
    def peak_alive(self) -> int:
        """Most green threads alive at one time on one OS thread, summed over OS threads."""

    @property
    def runnable(self) -> int:
        """Green threads waiting only for their turn, now."""

    @property
    def switches(self) -> int:
        """Switches from one green thread to another."""

    @property
    def parks(self) -> int:
        """Times a green thread stopped to wait for something."""

    @property
    def polls(self) -> int:
        """Times the kernel was asked which descriptors are ready."""

    @property
    def offloads(self) -> int:
        """Calls made on a helper OS thread, since they cannot be waited for: `getaddrinfo`, ..."""

    @property
    def os_threads(self) -> int:
        """OS threads that run green threads, now."""

    @property
    def hooked_symbols(self) -> int:
        """Entries of libc's symbol table that lead to a hook now."""

    @property
    def hooked_slots(self) -> int:
        """Slots in loaded objects that lead to a hook now."""

    @property
    def hooked_objects(self) -> int:
        """Loaded objects (the interpreter, extension modules, libraries) with such a slot."""

@final
class _Limits(structseq[Any], tuple[int, int, int, bool]):
    """What `_limits` returns."""

    @property
    def large_stack_size(self) -> int:
        """Bytes of C stack of the first green threads of an OS thread."""

    @property
    def large_stacks(self) -> int:
        """How many get that much."""

    @property
    def small_stack_size(self) -> int:
        """Bytes of C stack of the others."""

    @property
    def cheap_guards(self) -> bool:
        """Are guards made without splitting mappings?"""

class _AcquireRelease(Protocol):
    """What a condition needs of its lock."""

    def acquire(self, blocking: bool = ..., timeout: float = ..., /) -> bool:
        """As `threading.Lock.acquire`."""

    def release(self) -> None:
        """As `threading.Lock.release`."""

@disjoint_base
class Lock:
    """`threading.Lock`, for green threads and OS threads, without a system call.

    Whoever waits longest has it from the moment it is released: nobody overtakes.  (Between OS
    threads one who is running may be first, once.)
    """

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire it, waiting at most `timeout` seconds (-1: no limit); True if it was.  Parks.

        Raises ValueError for another negative timeout, or any with `blocking` false, and
        OverflowError for more than `threading.TIMEOUT_MAX`.
        """

    def release(self) -> None:
        """Release it, whoever acquired it.  RuntimeError if nobody did.  Does not park."""

    def locked(self) -> bool:
        """Is it held by anybody?"""

    def __enter__(self) -> bool: ...
    def __exit__(self, *args: object) -> None: ...
    def _at_fork_reinit(self) -> None:
        """Unlock it, in the child of a fork."""

@disjoint_base
class RLock:
    """`threading.RLock`: a `Lock` that its owner may acquire again, and only its owner release."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `Lock.acquire`; at once if the caller holds it."""

    def release(self) -> None:
        """Undo one `acquire`.  RuntimeError if the caller does not hold it.  Does not park."""

    def locked(self) -> bool:
        """Is it held by anybody?"""

    def __enter__(self) -> bool: ...
    def __exit__(self, *args: object) -> None: ...
    def _is_owned(self) -> bool:
        """Does the caller hold it?"""

    def _recursion_count(self) -> int:
        """How often the caller holds it."""

    def _release_save(self) -> int:
        """For conditions: release it, however often it is held."""

    def _acquire_restore(self, saved: int, /) -> None:
        """For conditions: hold it as before.  Parks."""

    def _at_fork_reinit(self) -> None:
        """Unlock it, in the child of a fork."""

@disjoint_base
class Condition:
    """`threading.Condition`, with a new `RLock` unless it is given a lock: weft's, or any other."""

    def __init__(self, lock: _AcquireRelease | None = None) -> None: ...
    def acquire(self, blocking: bool = ..., timeout: float = ...) -> bool:
        """The lock's own."""

    def release(self) -> None:
        """The lock's own."""

    def locked(self) -> bool:
        """The lock's own, if it has one (`threading.RLock` has from 3.14 on)."""

    def __enter__(self) -> bool: ...
    def __exit__(self, *args: object) -> None: ...
    def wait(self, timeout: float | None = None) -> bool:
        """Let go of the lock, wait until notified, and take the lock again.  Parks.

        False if nobody notified it within `timeout` seconds.  Raises RuntimeError if the lock is
        not held.  With a lock of weft's it is held afterwards, whatever happens; an exception that
        comes while it is being taken back is raised when it has been.
        """

    def wait_for(self, predicate: Callable[[], _T], timeout: float | None = None) -> _T:
        """Wait until ``predicate()`` is true, asking whenever notified; its last value.  Parks."""

    def notify(self, n: int = 1) -> None:
        """Let the first `n` who wait go on once they have the lock.  RuntimeError if not held."""

    def notify_all(self) -> None:
        """Let all who wait go on, one after the other.  RuntimeError if the lock is not held."""

    def _is_owned(self) -> bool:
        """Does the caller hold the lock?  Of locks that cannot say: does anybody?"""

@disjoint_base
class Semaphore:
    """`threading.Semaphore`: a counter that is never less than 0.  First come, first served."""

    _value: Final[int]

    def __init__(self, value: int = 1) -> None: ...
    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take one from the counter, waiting at most `timeout` seconds for it.  Parks.

        True if it was.  Raises ValueError for a timeout with `blocking` false.
        """

    def release(self, n: int = 1) -> None:
        """Add `n`; so many of those who wait go on.  ValueError if `n` is less than 1."""

    def __enter__(self) -> bool: ...
    def __exit__(self, *args: object) -> None: ...

class BoundedSemaphore(Semaphore):
    """`threading.BoundedSemaphore`: ValueError if the counter would exceed what it was at first."""

@disjoint_base
class Event:
    """`threading.Event`: a flag, and those who wait until it is set."""

    def is_set(self) -> bool:
        """Is the flag set?"""

    def set(self) -> None:
        """Set it; all who wait go on, also if it is cleared at once.  Does not park."""

    def clear(self) -> None:
        """Unset it.  Does not park."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most `timeout` seconds; True if it was.  Parks."""

class ShutDown(Exception):  # noqa: N818 - the standard library's name
    """Raised by operations on a queue that was shut down, or a channel that was closed.

    It is `queue.ShutDown` where that exists: since 3.13.
    """

class _Queue(Generic[_T]):
    """What all queues have.  How they keep things cannot be overridden: `queue.Queue` is for that.

    An item is promised to the getter that waited longest, and room to the putter that did, before
    they have run; the methods that count do not count what is promised.
    """

    def put(self, item: _T, block: bool = True, timeout: float | None = None) -> None:
        """Put an item in, waiting at most `timeout` seconds for room.  Parks.

        Raises `queue.Full` if there is none in time, `ShutDown` if the queue has been shut down,
        and ValueError for a negative timeout.  What comparisons of a PriorityQueue raise, too.
        After an exception the item is not in the queue, unless a signal handler that ran meanwhile
        made room for it, and raised.
        """

    def get(self, block: bool = True, timeout: float | None = None) -> _T:
        """Take an item out, waiting at most `timeout` seconds for one.  Parks.

        Raises `queue.Empty` if there is none in time, `ShutDown` if the queue has been shut down
        and is empty, and ValueError for a negative timeout.
        """

    def put_nowait(self, item: _T, /) -> None:
        """``put(item, block=False)``."""

    def get_nowait(self) -> _T:
        """``get(block=False)``."""

    def qsize(self) -> int:
        """How many items there are."""

    def empty(self) -> bool:
        """Would `get_nowait` raise `queue.Empty`?"""

    @classmethod
    def __class_getitem__(cls, item: Any, /) -> Any: ...

@disjoint_base
class Queue(_Queue[_T]):
    """`queue.Queue`, for green threads and OS threads, without a lock inside."""

    maxsize: int
    """How many items there is room for; 0: any number.  May be changed."""

    @property
    def unfinished_tasks(self) -> int:
        """How many items were put in and are not worked off."""

    @property
    def is_shutdown(self) -> bool:
        """Has `shutdown` been called?"""

    def __init__(self, maxsize: int = 0) -> None: ...
    def full(self) -> bool:
        """Would `put_nowait` raise `queue.Full`?"""

    def task_done(self) -> None:
        """An item taken out is worked off.  ValueError if that is said too often."""

    def join(self) -> None:
        """Wait until every item that was put in is worked off.  Parks."""

    def shutdown(self, immediate: bool = False) -> None:
        """From now on `put` raises `ShutDown`, and so does `get` once the queue is empty.

        All who wait are told.  `immediate` drops the items, as if each had been worked off.
        """

class LifoQueue(Queue[_T]):
    """`queue.LifoQueue`: what was put in last comes out first."""

class PriorityQueue(Queue[_T]):
    """`queue.PriorityQueue`: the smallest item comes out first.  Comparisons may park."""

@disjoint_base
class SimpleQueue(_Queue[_T]):
    """`queue.SimpleQueue`: without limit and tasks; `put` may be called by destructors, too."""

@disjoint_base
class Channel(Generic[_T]):
    """Values go from who sends to who receives, in order.

    With `maxsize` 0 sender and receiver meet: `send` returns when the value has been received.
    Otherwise so many values are left in the channel for later.  First come, first served.
    """

    @property
    def maxsize(self) -> int:
        """How many values may be sent before one is received."""

    @property
    def closed(self) -> bool:
        """Has `close` been called?"""

    def __new__(cls, maxsize: int = 0) -> Self: ...
    def send(self, value: _T, block: bool = True, timeout: float | None = None) -> None:
        """Send a value, waiting at most `timeout` seconds for a receiver or for room.  Parks.

        Raises `queue.Full` if nobody takes it in time, `ShutDown` if the channel is closed, also
        while waiting, and ValueError for a negative timeout.  After an exception nobody has
        received it, unless a signal handler that ran meanwhile did, and raised.
        """

    def recv(self, block: bool = True, timeout: float | None = None) -> _T:
        """Receive a value, waiting at most `timeout` seconds for one.  Parks.

        Raises `queue.Empty` if nobody sends one in time, `ShutDown` if the channel is closed and
        nothing is left in it, and ValueError for a negative timeout.
        """

    def close(self) -> None:
        """From now on `send` raises `ShutDown`, and so does `recv` once nothing is left.

        All who wait are told.  A second call does nothing.  Does not park.
        """

    def qsize(self) -> int:
        """How many values were left here."""

    def __iter__(self) -> Self:
        """Receive until the channel is closed."""

    def __next__(self) -> _T: ...
    @classmethod
    def __class_getitem__(cls, item: Any, /) -> Any: ...

def select(*cases: Any, timeout: float | None = None, default: Any = ...) -> tuple[int, Any]:
    """Do the first of several operations that can be done: its index, and its result.  Parks.

    A case is a bound method, or a tuple of one and its argument:

    - of weft's objects: ``channel.recv``, ``(channel.send, value)``, ``queue.get``,
      ``(queue.put, item)``, ``event.wait``, ``lock.acquire``, ``semaphore.acquire``;
    - of plain sockets: ``(sock.recv, size)`` and its kin, ``sock.accept``, ``(sock.send, data)``
      and its kin; and ``(os.read, fd, size)``, ``(os.write, fd, data)``.  The call is made when the
      descriptor is ready; should somebody else be faster, it parks.

    One of them is done and no other has any effect.  If several are ready, one is chosen by lot.
    If it raises, as a closed channel does, so does `select`.

    After `timeout` seconds TimeoutError is raised or, if there is a `default`, ``(-1, default)``
    returned.  With a default and no timeout it never waits.  Raises TypeError for any other case.
    """

def _set_descriptor_finder(
    find: Callable[[Callable[..., object], tuple[object, ...]], tuple[int, bool]], /
) -> None:
    """Who tells which descriptor a call waits for, and whether it writes."""

@overload
def spawn(
    fn: Callable[_P, Coroutine[Any, Any, _T]], /, *args: _P.args, **kwargs: _P.kwargs
) -> GreenThread[_T]:
    """The same for an ``async def``: the green thread sees its coroutine through, as
    `weft.aio.await_` does, and its result is the coroutine's.
    """

@overload
def spawn(fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> GreenThread[_T]:
    """Start ``fn(*args, **kwargs)`` in a green thread of its own.  Does not park.

    It begins to run when the caller next parks, on the caller's OS thread, in a copy of the
    caller's `contextvars` context.  From the first spawn of a process on, blocking calls of
    green threads park; nothing else changes (see `install`).

    If `fn` raises and nobody is waiting in `result` or `exception` at that moment, the exception
    is handed to `threading.excepthook` at once; it can still be asked for later.

    Raises TypeError if `fn` is not callable, MemoryError if there is no room for another, and
    RuntimeError when the interpreter is shutting down.
    """

def sleep(seconds: float, /) -> None:
    """Let `seconds` pass.  Parks; `sleep(0)` is `yield_now`.

    Raises ValueError for a negative or NaN number of seconds.
    """

def yield_now() -> None:
    """Let every green thread that is runnable now run once.  Parks, and is runnable at once.

    Costs next to nothing when no other is runnable.
    """

def current() -> GreenThread[Any]:
    """The green thread that is calling; in an OS thread's own code, the one that stands for it."""

def all_threads() -> list[GreenThread[Any]]:
    """Every green thread alive, also those `threading.Thread` made, in no particular order."""

def install() -> None:
    """From now on `threading.Thread`, and whatever is built on it, starts green threads.

    Threads already running stay what they are.  A second call does nothing.

    Raises RuntimeError when the hooks cannot be set, naming the cause.
    """

def uninstall() -> None:
    """Undo `install`, and take every hook off libc again.  A second call does nothing.

    Raises RuntimeError while green threads are alive.
    """

def installed() -> bool:
    """Is `install` in force?"""

def set_policy(
    pattern: str,
    policy: Literal["park", "release-only", "exclude", "own-thread-locals", "offload"],
    /,
) -> None:
    """Say what becomes of blocking calls that a library makes, where parking would harm it.

    `pattern` is for the library's file name without its folder: ``*`` stands for any text, ``?``
    for any character.  The policies:

    - ``"park"``, the default: a blocking call parks the green thread that makes it.
    - ``"release-only"``: it parks only if the library has released the GIL.  For C code that blocks
      holding the GIL and relies on nobody else running meanwhile.
    - ``"exclude"``: it blocks the OS thread, with all green threads on it, as if weft were not
      there.  For libraries that keep the identity of their threads in thread-local storage.
    - ``"own-thread-locals"``: it parks, and each green thread has the library's C or C++
      thread-local variables for itself.  For libraries that remember in them what they were doing.
      To be set before any green thread calls the library.
    - ``"offload"``: it parks, and what the library computes for long with the GIL released goes on
      on another OS thread, while the green thread is parked and the others run.  For libraries that
      keep nothing in thread-local storage meanwhile (docs/design/0023).

    If several patterns match, the one set last counts; setting a pattern again replaces its
    policy.  Libraries already loaded obey at once, those loaded later before their first call.
    ``"cygrpc*"`` is excluded from the start.  Whatever is set, the interpreter itself parks, and
    greenlet has ``"own-thread-locals"``.

    Raises ValueError for another policy, or a pattern that is empty or has a folder.
    """

def statistics() -> Statistics:
    """Counts since the program began."""

def set_preemption(seconds: float | None, /) -> None:
    """Let no green thread compute for longer than `seconds` while another could run.

    None switches that off.  Until this is called, the slice is `sys.getswitchinterval()`.  A green
    thread gives way only where CPython would let another OS thread run: between two bytecodes, not
    inside C code.  Counts for the whole process.  Raises ValueError for less than 50 microseconds.
    Does not park.
    """

def get_preemption() -> float | None:
    """The time slice in seconds, or None when preemption is off.  Does not park."""

def _hold_preemption(change: int, /) -> None:
    """Add to the number of reasons not to preempt the running green thread."""

def _hold_stalls(change: int, /) -> None:
    """Add to the number of reasons not to report that the running green thread stalls."""

def _watch_stalls(seconds: float | None, report: _StallReporter | None, fd: int, /) -> None:
    """Call `report` for each stall that lasts longer than `seconds`; None: for none.

    While C code holds the GIL for ten times that, some of it is written to `fd` (negative: no).
    """

def _pause_preemption() -> None:
    """End the watchdog, for a fork."""

def _resume_preemption() -> None:
    """Start the watchdog again, once `os.fork` has returned."""

def _waiting_os_threads() -> list[tuple[int, int]]:
    """(native id, what `_lock_address` says) of OS threads that wait for a lock without limit."""

def _watch_deadlocks(judge: Callable[[str, int], Exception | None] | None, /) -> None:
    """Whom to ask, in the main green thread, when nothing can happen any more; None: nobody.

    The judge is told the reason for which the main one was parked, and for what exactly, and
    returns the exception to raise there.
    """

def _clock_start(now_ns: int | None, wall_ns: int | None, /) -> None:
    """Give the calling OS thread a virtual clock: `testing.virtual_clock` says what that is.

    It stands at these times of CLOCK_MONOTONIC and CLOCK_REALTIME, in nanoseconds, or at the
    present. Raises RuntimeError if it has one that stands already.
    """

def _clock_stop() -> None:
    """Let time pass at the real speed.  The monotonic clock goes on from where it stands.

    Raises RuntimeError if the calling OS thread has no virtual clock, as the next two do.
    """

def _clock_jump(seconds: float, /) -> None:
    """Move the virtual clock on.  Does not park: whose time has come runs when the caller does."""

def _clock_grace(seconds: float, /) -> None:
    """How long, really, somebody's wait for a descriptor keeps the virtual clock from jumping."""

def _clock_outside(change: int, /) -> None:
    """Add to the number of green threads of this OS thread that wait for what takes real time."""

def _wait_all_parked() -> None:
    """Park until every other green thread of this OS thread is parked, and none is due to run."""

def _seed_start(number: int, files: frozenset[str], /) -> None:
    """From now on the seed decides which green thread of this OS thread runs, and until when.

    Within code of `files` there are no points; only a call into them from others is one.
    Gives the calling one its points of preemption, as every one that is spawned from now on; those
    that `threading.Thread` makes get theirs by `_seed_enter`.  Preemption by time must be off.
    """

def _seed_stop() -> None:
    """First come, first served again."""

def _seed_enter(frame: FrameType, event: str, argument: object, /) -> None:
    """For `threading.setprofile`: gives the thread its points of preemption."""

def _snapshot() -> tuple[
    list[
        tuple[
            int,
            int,
            Literal["root", "spawned", "threading"],
            GreenThread[Any] | None,
            Literal["new", "runnable", "running", "parked"],
            tuple[str, str, int, float, float | None] | None,
            tuple[str, int] | None,
            int,
        ]
    ],
    list[tuple[int, int, int, int, int, int, int, bool]],
    tuple[int, int, int],
    bool,
]:
    """What there is, for `_snapshot`: green threads, the oldest first (serial number, ident, kind,
    handle, state, park, place of the spawn, native id of the OS thread), workers, the offload pool
    (alive, idle, queued), and whether the watchdog runs.  Does not park.
    """

def _has_worker() -> bool:
    """Does the calling OS thread run green threads?  Asking does not make it one that does."""

def _socket_addresses(fd: int, /) -> tuple[str, str] | None:
    """A socket's own address and its peer's, "" where there is none; None if it is no socket."""

def _frame_slot(frame: FrameType, n: int, /) -> Any:
    """The n-th slot of the frame of a thread that does not run now; None if it is empty.

    Variables come first, then the value stack.  Only a live slot may be asked for.
    """

def _lock_address(lock: _thread.LockType | _thread.RLock, /) -> int:
    """What a park for a lock tells of it, and of no other."""

def _remove_done_callback(
    green_thread: GreenThread[Any], fn: Callable[[GreenThread[Any]], object], /
) -> None:
    """Take back what `GreenThread.add_done_callback` was given, if it was not called yet."""

def _spawned() -> list[GreenThread[Any]]:
    """The green threads made by `spawn` that are alive."""

def _first_step(
    loop: AbstractEventLoop,
    ready: deque[Handle],
    scheduled: list[TimerHandle],
    coroutine: Awaitable[_T],
    /,
) -> _T | Any:
    """Run a coroutine until it first waits, as the current task of `loop`, which only the caller
    uses now.  `ready` and `scheduled` are the loop's queues of what is to be called.

    Returns what it returns; or, if it waits, what the callable that was lent makes of the loop, of
    it, of what it handed out, and of the task, which is not initialised yet; that callable is not
    preempted.  If it does not wait, but the loop has something to do, ``loop._wake()`` is called.
    ``loop._home`` is its driver's `_thread_state`, or 0: as far as asyncio lists tasks by thread
    (from 3.14 on), theirs is the driver's.

    Raises what it raises, and RuntimeError in a coroutine of that loop.  Parks only if the
    coroutine blocks.
    """

def _thread_state() -> int:
    """The address of the calling thread's state: how a loop tells `_first_step` who drives it."""

def _lend_asyncio(
    get_running: Callable[[], AbstractEventLoop | None],
    set_running: Callable[[AbstractEventLoop | None], None],
    enter: Callable[[AbstractEventLoop, Task[Any]], None],
    leave: Callable[[AbstractEventLoop, Task[Any]], None],
    task_type: type[Task[Any]],
    adopt: Callable[[Any, Coroutine[Any, Any, Any], object, Task[Any]], object],
    watch_async_gens: Callable[[], None],
    /,
) -> None:
    """What `_first_step` needs of asyncio; whom to call with a coroutine that waits, and in a green
    thread that takes its first step and has no hooks for asynchronous generators yet.
    """

def _set_callbacks(
    report_exception: _ExceptionReporter,
    active: dict[int, Thread],
    run_coroutine: Callable[[Coroutine[Any, Any, Any]], Any],
    /,
) -> None:
    """What `_threads` lends: whom to call with an exception that nobody collects, `threading`'s
    table of threads, and whom to call with what an ``async def`` returned.
    """

def _want_os_threads(change: int, /) -> None:
    """Add to the number of reasons for threads the running green thread makes to be OS threads."""

def _refuse_unkept() -> None:
    """Raise RuntimeError if a library is loaded that cannot have its policy "own-thread-locals"."""

def _count_threads() -> None:
    """Count the OS threads the interpreter makes from now on; makes nothing green."""

def _thread_counts() -> tuple[int, int, int]:
    """OS threads made by the interpreter, and by weft to help: started, alive now, most alive at
    one time.  Counted since `_count_threads` or `install`.
    """

def _hooked_objects() -> list[tuple[str, int, str, list[str]]]:
    """Every loaded object: its path, how many of its slots lead to a hook, its policy (or
    "exempt: " and why), and the functions so hooked.
    """

def _hooked_symbols() -> list[tuple[str, Literal["all", "python", "library"], bool]]:
    """Every function weft has a hook for: its name, in which objects it is hooked (all of them, the
    interpreter's, or all but that), and whether this libc has it.
    """

def _limits() -> _Limits:
    """What green threads get here."""

def _finalize() -> None:
    """Stop switching for good: who is parked stays parked, and blocking calls block."""
