# Green threads in 200 lines of Python.
#
#     python green_threads.py           two threads that count, taking turns
#     python green_threads.py nested    a thread that starts another
#
# One file, the standard library, no compiler.  A green thread is a piece of memory used as a stack,
# a saved stack pointer, and a thread state of the interpreter's.  To change from one to another
# takes about twenty machine instructions, which stand here as bytes: Linux on x86-64 or AArch64.
# The steps and the chapters beside this file lead up to it; this is where they arrive.
#
# What always holds:
#   - A thread that is not running is one number, its stack pointer; all else lies on its stack.
#   - Whoever has the stack has the interpreter's attention too: both change hands in `switch`.
#   - A thread whose task is over stays where it is, in `guard`, and is given its next task there.

import ctypes
import mmap
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

Task = Callable[[], object]
STACK_SIZE = 2 * 1024 * 1024  # of address space; a page costs memory from its first use on
SLOTS = 3  # how many threads there can be at a time, unless Runtime is told otherwise

# --- The machine code -----------------------------------------------------------------------------
#
# switch(&old.sp, &new.sp, thread state of new, address of PyThreadState_Swap)
#     pushes what a function must not lose, notes the stack pointer in old.sp, tells the interpreter
#     who is next, takes the stack pointer from new.sp, and pops: now it returns in another thread.
# start
#     is where a new thread "returns" to the first time: it calls body, then guard, for ever.

SWITCH_X86_64 = """
    55                          push rbp                these six registers are our caller's
    53                          push rbx
    41 54                       push r12
    41 55                       push r13
    41 56                       push r14
    41 57                       push r15
    48 83 ec 08                 sub rsp, 8              a call wants rsp to be a multiple of 16
    48 89 27                    mov [rdi], rsp          the old thread is now this one number
    48 89 f3                    mov rbx, rsi
    48 89 d7                    mov rdi, rdx
    ff d1                       call rcx                PyThreadState_Swap(thread state of new)
    48 8b 23                    mov rsp, [rbx]          from here on we are the new thread
    48 83 c4 08                 add rsp, 8
    41 5f                       pop r15
    41 5e                       pop r14
    41 5d                       pop r13
    41 5c                       pop r12
    5b                          pop rbx
    5d                          pop rbp
    c3                          ret
"""
START_X86_64 = """
    4c 89 e7                    mov rdi, r12            PyObject_CallNoArgs(body)
    41 ff d6                    call r14
    4c 89 ef                    mov rdi, r13            PyObject_CallNoArgs(guard)
    41 ff d6                    call r14
    eb f2                       jmp start
"""
SWITCH_AARCH64 = """
    ff 83 02 d1                 sub sp, sp, #160        these twenty registers are our caller's
    f3 53 00 a9 f5 5b 01 a9     stp x19, x20, [sp]; stp x21, x22, [sp, #16]
    f7 63 02 a9 f9 6b 03 a9     stp x23, x24, [sp, #32]; stp x25, x26, [sp, #48]
    fb 73 04 a9 fd 7b 05 a9     stp x27, x28, [sp, #64]; stp x29, x30, [sp, #80]
    e8 27 06 6d ea 2f 07 6d     stp d8, d9, [sp, #96]; stp d10, d11, [sp, #112]
    ec 37 08 6d ee 3f 09 6d     stp d12, d13, [sp, #128]; stp d14, d15, [sp, #144]
    e9 03 00 91 09 00 00 f9     mov x9, sp; str x9, [x0]  the old thread is now this one number
    f3 03 01 aa e0 03 02 aa     mov x19, x1; mov x0, x2
    60 00 3f d6                 blr x3                  PyThreadState_Swap(thread state of new)
    69 02 40 f9 3f 01 00 91     ldr x9, [x19]; mov sp, x9  from here on we are the new thread
    f3 53 40 a9 f5 5b 41 a9     ldp x19, x20, [sp]; ldp x21, x22, [sp, #16]
    f7 63 42 a9 f9 6b 43 a9     ldp x23, x24, [sp, #32]; ldp x25, x26, [sp, #48]
    fb 73 44 a9 fd 7b 45 a9     ldp x27, x28, [sp, #64]; ldp x29, x30, [sp, #80]
    e8 27 46 6d ea 2f 47 6d     ldp d8, d9, [sp, #96]; ldp d10, d11, [sp, #112]
    ec 37 48 6d ee 3f 49 6d     ldp d12, d13, [sp, #128]; ldp d14, d15, [sp, #144]
    ff 83 02 91 c0 03 5f d6     add sp, sp, #160; ret
"""
START_AARCH64 = """
    e0 03 13 aa a0 02 3f d6     mov x0, x19; blr x21    PyObject_CallNoArgs(body)
    e0 03 14 aa a0 02 3f d6     mov x0, x20; blr x21    PyObject_CallNoArgs(guard)
    fc ff ff 17                 b start
"""


# What differs from processor to processor.  The numbers count words of eight bytes in the frame
# that switch pops: its size, and which of them becomes the register that `start` finds the body in,
# the guard, the function that calls them; and which is the address that switch returns to.
@dataclass
class Machine:
    switch: str
    start: str
    words: int
    body: int
    guard: int
    call: int
    returns_to: int


MACHINE = {
    "x86_64": Machine(SWITCH_X86_64, START_X86_64, 8, body=4, guard=3, call=2, returns_to=7),
    "aarch64": Machine(SWITCH_AARCH64, START_AARCH64, 20, body=0, guard=1, call=2, returns_to=11),
}[platform.machine()]

# --- What we need from C --------------------------------------------------------------------------

python, libc = ctypes.pythonapi, ctypes.CDLL(None, use_errno=True)
for function in python.PyInterpreterState_Get, python.PyThreadState_Get, python.PyThreadState_New:
    function.restype = ctypes.c_void_p
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]


def address_of(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def assemble(listing: str) -> bytes:
    return bytes.fromhex("".join(line[:28] for line in listing.splitlines()))


def map_memory(size: int, protection: int, flags: int = 0, file: int = -1) -> int:
    address: int = libc.mmap(None, size, protection, mmap.MAP_PRIVATE | flags, file, 0)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap failed")
    return address


# Machine code goes to memory by way of a file, because no memory should be open to writing and to
# execution at once; and because the kernel then sees to it that the processor reads the new bytes.
def load(code: bytes) -> int:
    file = os.memfd_create("switch")
    os.write(file, code)
    address = map_memory(len(code), mmap.PROT_READ | mmap.PROT_EXEC, file=file)
    os.close(file)
    return address


# A PyThreadState is what a thread is to the interpreter.  From 3.14 on it wants to know where the
# thread's stack is, before the thread first runs.
def new_thread_state(stack: int) -> int:
    tstate: int = python.PyThreadState_New(ctypes.c_void_p(python.PyInterpreterState_Get()))
    if sys.version_info >= (3, 14):
        bounds = ctypes.c_void_p(stack), ctypes.c_size_t(STACK_SIZE)
        python.PyUnstable_ThreadState_SetStackProtection(ctypes.c_void_p(tstate), *bounds)
    return tstate


CODE = load(assemble(MACHINE.switch) + assemble(MACHINE.start))
START = CODE + len(assemble(MACHINE.switch))
SWAP, CALL = address_of(python.PyThreadState_Swap), address_of(python.PyObject_CallNoArgs)
# Of the two sorts of C function that ctypes knows, this one keeps the interpreter's lock (the GIL).
switch = ctypes.PYFUNCTYPE(None, *[ctypes.c_void_p] * 4)(CODE)

# --- Threads --------------------------------------------------------------------------------------

State = Enum("State", ["AVAILABLE", "RUNNING", "READY"])


# What was running before there were any threads: it has a stack and a thread state already.
class Base:
    task: Task

    def __init__(self) -> None:
        self.state = State.RUNNING
        self.sp = ctypes.c_void_p()  # valid while the thread is not running
        self.tstate: int = python.PyThreadState_Get()


# A place for tasks, one after the other, with a stack of its own.
class Thread(Base):
    def __init__(self, guard: Task) -> None:
        self.state = State.AVAILABLE
        stack = map_memory(STACK_SIZE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_ANONYMOUS)
        self.tstate = new_thread_state(stack)
        self.calls = self.body, guard  # the stack knows only their addresses: keep them alive
        # The frame that the first switch to us pops lies at the top, which is a multiple of 16.
        sp = stack + STACK_SIZE - 8 * MACHINE.words
        frame = (ctypes.c_uint64 * MACHINE.words).from_address(sp)
        frame[MACHINE.body], frame[MACHINE.guard] = map(id, self.calls)
        frame[MACHINE.call], frame[MACHINE.returns_to] = CALL, START
        self.sp = ctypes.c_void_p(sp)

    # Machine code calls this, and has no idea of exceptions.
    def body(self) -> None:
        try:
            self.task()
        except BaseException:
            sys.excepthook(*sys.exc_info())


# --- The runtime ----------------------------------------------------------------------------------

RUNTIME: "Runtime"  # the one that yield_thread() means: the last that was made


class Runtime:
    def __init__(self, slots: int = SLOTS) -> None:
        global RUNTIME
        RUNTIME = self
        self.threads = [Base(), *(Thread(self.guard) for _ in range(slots))]
        self.current = 0

    # Lets the others run until all of them have finished.
    def run(self) -> None:
        while self.t_yield():
            pass

    # Gives the task to a thread that has none.  It will run when its turn comes.
    def spawn(self, task: Task) -> None:
        thread = next((t for t in self.threads if t.state is State.AVAILABLE), None)
        if thread is None:
            raise RuntimeError("no available thread")
        thread.task, thread.state = task, State.READY

    # Lets the next thread in the round go on; False if none is ready.
    def t_yield(self) -> bool:
        others = [*range(self.current + 1, len(self.threads)), *range(self.current)]
        following = next((i for i in others if self.threads[i].state is State.READY), None)
        if following is None:
            return False
        old, new = self.threads[self.current], self.threads[following]
        if old.state is State.RUNNING:
            old.state = State.READY
        new.state = State.RUNNING
        self.current = following
        switch(ctypes.byref(old.sp), ctypes.byref(new.sp), new.tstate, SWAP)
        return True

    # The current thread's task is over.  Returns when it has been given another.
    def t_return(self) -> None:
        self.threads[self.current].state = State.AVAILABLE
        self.t_yield()

    # Where every thread goes after its body.
    def guard(self) -> None:
        self.t_return()


def yield_thread() -> None:
    RUNTIME.t_yield()


# --- Two programs ---------------------------------------------------------------------------------


def counter(number: int, limit: int) -> None:
    print(f"THREAD {number} STARTING")
    for i in range(limit):
        print(f"thread: {number} counter: {i}")
        yield_thread()
    print(f"THREAD {number} FINISHED")


def taking_turns() -> None:
    runtime = Runtime()
    runtime.spawn(lambda: counter(1, 10))
    runtime.spawn(lambda: counter(2, 15))
    runtime.run()


class Announcing(Runtime):
    def guard(self) -> None:
        print(f"THREAD {self.current} FINISHED.")
        super().guard()


def nested() -> None:
    def first() -> None:
        print("I haven't implemented a timer in this example.")
        yield_thread()
        print("Finally, notice how the tasks are executed concurrently.")

    def second() -> None:
        print("But we can still nest tasks...")
        runtime.spawn(lambda: print("...like this!"))

    runtime = Announcing()
    runtime.spawn(first)
    runtime.spawn(second)
    runtime.run()


if __name__ == "__main__":
    nested() if "nested" in sys.argv else taking_turns()
