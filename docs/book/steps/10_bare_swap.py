# Step 10: leave one stack for another.
#
# Four bytes of machine code move the stack pointer to memory of ours and return there.  What they
# return to is an address that we wrote to the top of that memory ourselves.  There is no way back:
# where we came from was not written down.  (x86-64; on 3.14 and later the interpreter notices.)

import ctypes
import mmap
import os

STACK_SIZE = 64 * 1024

CODE = bytes.fromhex("48 89 fc c3")  # mov rsp, rdi; ret


def map_memory(size, protection):
    """Memory of the kernel's, and its address."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, protection)
    return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory))


@ctypes.CFUNCTYPE(None)  # makes a C function of it, one that machine code can return to
def hello():
    print("I love waking up on a new stack!", flush=True)
    os._exit(0)


code, code_address = map_memory(4096, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(CODE)
gt_switch = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(code_address)

stack, stack_address = map_memory(STACK_SIZE, mmap.PROT_READ | mmap.PROT_WRITE)
# A function expects rsp to be 8 more than a multiple of 16, as it is after a call; `ret` takes 8.
sp = stack_address + STACK_SIZE - 16
ctypes.c_void_p.from_address(sp).value = ctypes.cast(hello, ctypes.c_void_p).value

print("Leaving.", flush=True)
gt_switch(sp)
print("This line is never printed.")
