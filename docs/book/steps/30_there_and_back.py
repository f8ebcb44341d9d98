# Step 30: two computations that switch to each other, as often as they like.
#
# Now both sides write down where they are, so both can be gone back to.  The stacks are in order,
# and the machine is content.  The interpreter is not: it was never told.  It still believes in one
# chain of calls, and says so at the end.  (x86-64; CPython 3.11 to 3.13.)

import ctypes
import mmap
import os
import sys

STACK_SIZE = 256 * 1024

CODE = bytes.fromhex("""
    55  53  4154  4155  4156  4157
    48 89 27
    48 8b 26
    415f  415e  415d  415c  5b  5d
    c3
""")  # push six registers; mov [rdi], rsp; mov rsp, [rsi]; pop six registers; ret


def map_memory(size, protection):
    """Memory of the kernel's, and its address."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, protection)
    return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory))


code, code_address = map_memory(4096, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(CODE)
switch = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(code_address)

here, there = ctypes.c_void_p(), ctypes.c_void_p()  # two stack pointers: all that is ever saved


def go_there():
    switch(ctypes.byref(here), ctypes.byref(there))


def go_back():
    switch(ctypes.byref(there), ctypes.byref(here))


def calls():
    """The functions that the interpreter thinks are being called, the innermost first."""
    frame, names = sys._getframe(1), []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return " < ".join(names)


@ctypes.CFUNCTYPE(None)
def other():
    print("there: hello.     Calls:", calls(), flush=True)
    go_back()
    print("there: and again.", flush=True)
    go_back()


def main():
    _stack, stack_address = map_memory(STACK_SIZE, mmap.PROT_READ | mmap.PROT_WRITE)
    # What the first switch pops: six registers, and where to go.
    there.value = stack_address + STACK_SIZE - 16 - 6 * 8
    frame = (ctypes.c_void_p * 7).from_address(there.value)
    frame[6] = ctypes.cast(other, ctypes.c_void_p).value

    print("here:  hello.     Calls:", calls())
    go_there()
    print("here:  I am back. Calls:", calls())
    go_there()
    print("here:  and again.", flush=True)
    os._exit(0)  # before the interpreter walks over what we did to it


main()
