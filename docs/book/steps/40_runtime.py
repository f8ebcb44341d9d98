# Step 40: the runtime.  Threads with a state, taking turns in a round.
#
# New against step 30: each thread has a thread state of the interpreter's, and the switch changes
# it with the stack.  A thread runs one plain function; when that returns, the guard is called: it
# says that the slot is free.  What is still missing: see what `python 40_runtime.py trouble` does.
# (x86-64; CPython 3.11 to 3.13.)

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
    0f 0b                   ud2
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


class Thread:
    def __init__(self, state):
        self.state = state
        self.sp = ctypes.c_void_p()
        self.stack, self.stack_address = map_memory(STACK_SIZE, mmap.PROT_READ | mmap.PROT_WRITE)

    def prepare(self, function, guard):
        """Writes the frame that the first switch to us pops."""
        self.tstate = python.PyThreadState_New(ctypes.c_void_p(python.PyInterpreterState_Get()))
        self.sp.value = self.stack_address + STACK_SIZE - 8 * 8
        frame = (ctypes.c_uint64 * 8).from_address(self.sp.value)
        frame[2] = address_of(python.PyObject_CallNoArgs)  # r14
        frame[3] = id(guard)  # r13
        frame[4] = id(function)  # r12
        frame[7] = start  # where `ret` goes


class Runtime:
    def __init__(self):
        self.threads = [Thread(State.RUNNING)]
        self.threads += [Thread(State.AVAILABLE) for _ in range(MAX_THREADS - 1)]
        self.threads[0].tstate = python.PyThreadState_Get()
        self.current = 0

    def run(self):
        while self.t_yield():
            pass

    def spawn(self, function):
        for thread in self.threads:
            if thread.state is State.AVAILABLE:
                thread.prepare(function, guard)
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
        self.t_yield()  # does not return: nobody has a reason to come back here


RUNTIME = Runtime()


def guard():
    RUNTIME.t_return()


def yield_thread():
    RUNTIME.t_yield()


def first():
    print("THREAD 1 STARTING")
    for i in range(10):
        print("thread: 1 counter:", i)
        yield_thread()
    print("THREAD 1 FINISHED")


def second():
    print("THREAD 2 STARTING")
    for i in range(15):
        print("thread: 2 counter:", i)
        yield_thread()
    print("THREAD 2 FINISHED")


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
