# Step 20: look at a stack, before somebody ran on it and after.
#
# This time we come back: the code keeps the old stack pointer in rbx, a register that every
# function must leave as it found it.  So we can print the memory, word by word, as the visit left
# it.
# Beside each word stands what it could be, by the map of our address space that the kernel keeps:
# an address in a library's code is mostly a place to return to.  (x86-64.)

import ctypes
import mmap
import os
import sys

STACK_SIZE = 64 * 1024
SHOWN = 36  # words

CODE = bytes.fromhex("""
    53
    48 89 e3
    48 89 fc
    ff d6
    48 89 dc
    5b
    c3
""")  # push rbx; mov rbx, rsp; mov rsp, rdi; call rsi; mov rsp, rbx; pop rbx; ret


def map_memory(size, protection):
    """Memory of the kernel's, and its address."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, protection)
    return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory))


def read_map():
    """What lies where: (first address, address after the last, name, whether it is code)."""
    with open("/proc/self/maps") as file:
        for line in file:
            addresses, permissions, _, _, _, *name = line.split()
            lo, hi = (int(address, 16) for address in addresses.split("-"))
            what = os.path.basename(name[0]) if name else "unnamed memory"
            yield lo, hi, what, "x" in permissions


def meaning(word, places):
    """What a word could be: an address in one of the places, or nothing that we know."""
    if word == 0:
        return ""
    for lo, hi, name, is_code in places:
        if lo <= word < hi:
            return f"code of {name}" if is_code else f"in {name}"
    return "a number, or text"


def words_of(stack):
    """The stack as words of eight bytes, the top first, each with its distance from the top."""
    for distance in range(8, STACK_SIZE + 1, 8):
        at = STACK_SIZE - distance
        yield distance, stack[at : at + 8]


def show(title, stack, places):
    print(f"--- {title}: the uppermost {SHOWN} words of {STACK_SIZE // 8:,}")
    for distance, eight in list(words_of(stack))[:SHOWN]:
        note = meaning(int.from_bytes(eight, "little"), places)
        print(f"top - {distance:<3}   {eight.hex(' ')}   {note}".rstrip())


def depth(stack):
    """How far down somebody has written."""
    return max((distance for distance, eight in words_of(stack) if any(eight)), default=0)


@ctypes.CFUNCTYPE(None)
def hello():
    print("Hello from another stack!")


def main():
    code, code_address = map_memory(4096, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(CODE)
    call_on = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(code_address)
    stack, stack_address = map_memory(STACK_SIZE, mmap.PROT_READ | mmap.PROT_WRITE)
    top = stack_address + STACK_SIZE

    show("before", stack, [])
    call_on(top, ctypes.cast(hello, ctypes.c_void_p))
    ours = [
        (stack_address, top, "this stack", False),
        (code_address, code_address + len(CODE), "ours, after call rsi", True),
    ]
    show("after", stack, [*ours, *read_map()])
    print(f"The visit went {depth(stack):,} bytes deep.")


if __name__ == "__main__":
    sys.exit(main())
