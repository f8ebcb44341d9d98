# Step 50: closures, errors, and slots that are used again.
#
# New against step 40: a thread keeps the task it was given, so the task may be a closure that
# nobody else holds; what a task raises is shown, and ends that thread only; and a thread that has
# finished waits in its guard for the next task, with its stack and its thread state.  The program
# starts a thread from inside a thread.  (x86-64; CPython 3.11 to 3.13.)

import ctypes
import mmap
import sys
from enum import Enum

STACK_SIZE = 2 * 1024 * 1024
MAX_THREADS = 4  # with the one that was there before

SWITCH = """
    55 53                   push rbp; push rbx
    41 54 41 55             push r12; push r13
    41 56 41 57             push r14; push r15
    48 83 ec 08             sub rsp, 8
    48 89 27                mov [rdi], rsp
    48 89 f3                mov rbx, rsi
    48 89 d7                mov rdi, rdx
    ff d1                   call rcx
    48 8b 23                mov rsp, [rbx]
    48 83 c4 08             add rsp, 8
    41 5f 41 5e             pop r15; pop r14
    41 5d 41 5c             pop r13; pop r12
    5b 5d                   pop rbx; pop rbp
    c3                      ret
"""
START = """
    4c 89 e7 41 ff d6       mov rdi, r12; call r14
    4c 89 ef 41 ff d6       mov rdi, r13; call r14
    eb f2                   jmp start
"""


def assemble(listing):
    return bytes.fromhex("".join(line[:28] for line in listing.splitlines()))


def map_memory(size, protection):
    """Memory of the kernel's, and its address."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, protection)
    return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory))


def address_of(function):
    return ctypes.cast(function, ctypes.c_void_p).value


python = ctypes.pythonapi
for function in python.PyInterpreterState_Get, python.PyThreadState_Get, python.PyThreadState_New:
    function.restype = ctypes.c_void_p

code, code_address = map_memory(4096, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(assemble(SWITCH) + assemble(START))
start = code_address + len(assemble(SWITCH))
switch = ctypes.PYFUNCTYPE(None, *[ctypes.c_void_p] * 4)(code_address)

State = Enum("State", ["AVAILABLE", "RUNNING", "READY"])


class Base:
    """What was running before there were threads."""

    def __init__(self):
        self.state = State.RUNNING
        self.sp = ctypes.c_void_p()
        self.tstate = python.PyThreadState_Get()


class Thread(Base):
    def __init__(self, guard):
        self.state = State.AVAILABLE
        self.tstate = python.PyThreadState_New(ctypes.c_void_p(python.PyInterpreterState_Get()))
        self.calls = self.body, guard  # the stack knows only their addresses: keep them alive
        self.stack, stack_address = map_memory(STACK_SIZE, mmap.PROT_READ | mmap.PROT_WRITE)
        self.sp = ctypes.c_void_p(stack_address + STACK_SIZE - 8 * 8)
        frame = (ctypes.c_uint64 * 8).from_address(self.sp.value)
        frame[2] = address_of(python.PyObject_CallNoArgs)  # r14
        frame[4], frame[3] = map(id, self.calls)  # r12, r13
        frame[7] = start  # where `ret` goes

    def body(self):
        """Machine code calls this, and has no idea of exceptions."""
        try:
            self.task()
        except BaseException:
            sys.excepthook(*sys.exc_info())


class Runtime:
    def __init__(self):
        self.threads = [Base(), *(Thread(self.guard) for _ in range(MAX_THREADS - 1))]
        self.current = 0

    def run(self):
        while self.t_yield():
            pass

    def spawn(self, task):
        for thread in self.threads:
            if thread.state is State.AVAILABLE:
                thread.task = task
                thread.state = State.READY
                return
        raise RuntimeError("no available thread")

    def t_yield(self):
        position = self.current
        while True:
            position = (position + 1) % len(self.threads)
            if self.threads[position].state is State.READY:
                break
            if position == self.current:
                return False
        old, new = self.threads[self.current], self.threads[position]
        if old.state is not State.AVAILABLE:
            old.state = State.READY
        new.state = State.RUNNING
        self.current = position
        swap = address_of(python.PyThreadState_Swap)
        switch(ctypes.byref(old.sp), ctypes.byref(new.sp), new.tstate, swap)
        return True

    def t_return(self):
        self.threads[self.current].state = State.AVAILABLE
        self.t_yield()  # returns when there is another task

    def guard(self):
        print(f"THREAD {self.current} FINISHED.")
        self.t_return()


RUNTIME = Runtime()


def yield_thread():
    RUNTIME.t_yield()


def first():
    print("I haven't implemented a timer in this example.")
    yield_thread()
    print("Finally, notice how the tasks are executed concurrently.")


def second():
    print("But we can still nest tasks...")
    RUNTIME.spawn(lambda: print("...like this!"))


def trouble():
    print("dividing by zero")
    return 1 / 0


if __name__ == "__main__":
    if sys.argv[1:] == ["trouble"]:
        RUNTIME.spawn(trouble)
    else:
        RUNTIME.spawn(first)
        RUNTIME.spawn(second)
    RUNTIME.run()
