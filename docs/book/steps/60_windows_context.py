# Step 60: what a context is on Windows, and why it is five times as large.
#
# Which registers a function must leave as it found them is a convention, and Windows has another
# one than Linux: ten vector registers are on its list.  A switch that leaves them out works until
# the day when a caller keeps a number in one.  The program prints both lists; then it shows the
# fault, with a number in xmm6: a switch by Linux's rules, and one by Windows'.
# It runs on Linux.  The machine code is Windows' in all but where the arguments come from, and
# leaves out the last words of the list, which Linux does not have.  (x86-64.)

import ctypes
import mmap

SYSTEM_V = [("r15", 8), ("r14", 8), ("r13", 8), ("r12", 8), ("rbx", 8), ("rbp", 8)]
WINDOWS = [
    *[(f"xmm{n}", 16) for n in range(6, 16)],
    ("control words of the vector and the x87 unit", 8),
    *SYSTEM_V,
    ("rdi", 8),
    ("rsi", 8),
    ("where the stack begins (kept at gs:0x08)", 8),
    ("... how far its pages are ready (gs:0x10)", 8),
    ("... and where it ends (gs:0x1478)", 8),
]

SMALL = """
    55                          push rbp                System V's list, and the switch
    53                          push rbx
    41 54                       push r12
    41 55                       push r13
    41 56                       push r14
    41 57                       push r15
    48 89 27                    mov [rdi], rsp
    48 8b 26                    mov rsp, [rsi]
    41 5f                       pop r15
    41 5e                       pop r14
    41 5d                       pop r13
    41 5c                       pop r12
    5b                          pop rbx
    5d                          pop rbp
    c3                          ret
"""
LARGE = """
    48 81 ec a8 00 00 00        sub rsp, 0xa8           the vector registers around it
    0f 29 34 24                 movaps [rsp], xmm6
    0f 29 7c 24 10              movaps [rsp + 0x10], xmm7
    44 0f 29 44 24 20           movaps [rsp + 0x20], xmm8
    44 0f 29 4c 24 30           movaps [rsp + 0x30], xmm9
    44 0f 29 54 24 40           movaps [rsp + 0x40], xmm10
    44 0f 29 5c 24 50           movaps [rsp + 0x50], xmm11
    44 0f 29 64 24 60           movaps [rsp + 0x60], xmm12
    44 0f 29 6c 24 70           movaps [rsp + 0x70], xmm13
    44 0f 29 b4 24 80 00 00 00  movaps [rsp + 0x80], xmm14
    44 0f 29 bc 24 90 00 00 00  movaps [rsp + 0x90], xmm15
    e8 9a ff ff ff              call small              which lies just before this
    0f 28 34 24                 movaps xmm6, [rsp]
    0f 28 7c 24 10              movaps xmm7, [rsp + 0x10]
    44 0f 28 44 24 20           movaps xmm8, [rsp + 0x20]
    44 0f 28 4c 24 30           movaps xmm9, [rsp + 0x30]
    44 0f 28 54 24 40           movaps xmm10, [rsp + 0x40]
    44 0f 28 5c 24 50           movaps xmm11, [rsp + 0x50]
    44 0f 28 64 24 60           movaps xmm12, [rsp + 0x60]
    44 0f 28 6c 24 70           movaps xmm13, [rsp + 0x70]
    44 0f 28 b4 24 80 00 00 00  movaps xmm14, [rsp + 0x80]
    44 0f 28 bc 24 90 00 00 00  movaps xmm15, [rsp + 0x90]
    48 81 c4 a8 00 00 00        add rsp, 0xa8
    c3                          ret
"""
HERE = """
    53                          push rbx                here(&us, &them, switch, number)
    66 48 0f 6e f1              movq xmm6, rcx
    ff d2                       call rdx
    66 48 0f 7e f0              movq rax, xmm6          what we find in it afterwards
    5b                          pop rbx
    c3                          ret
"""
THERE = """
    b8 ad 0b 00 00              mov eax, 0xbad          the other side uses the register itself
    66 48 0f 6e f0              movq xmm6, rax
    4c 89 ef                    mov rdi, r13
    4c 89 e6                    mov rsi, r12
    41 ff d6                    call r14                and switches back
"""


def assemble(listing):
    return bytes.fromhex("".join(line[:31] for line in listing.splitlines()))


def map_memory(size, protection):
    """Memory of the kernel's, and its address."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, protection)
    return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory))


def show(title, frame):
    print(title)
    offset = 0
    for name, size in frame:
        print(f"    {offset:#05x}  {name}")
        offset += size
    print(f"    {offset:#05x}  in all: {offset} bytes, and the address to return to\n")


def after_a_switch(switch, number):
    """What is in xmm6 after a switch there and back, if `number` was in it before."""
    _stack, stack_address = map_memory(4096, mmap.PROT_READ | mmap.PROT_WRITE)
    us, them = ctypes.c_void_p(), ctypes.c_void_p(stack_address + 4096 - 7 * 8)
    frame = (ctypes.c_uint64 * 7).from_address(them.value)
    frame[1] = switch  # r14
    frame[2], frame[3] = ctypes.addressof(them), ctypes.addressof(us)  # r13, r12
    frame[6] = there  # where `ret` goes
    return here(ctypes.byref(us), ctypes.byref(them), switch, number)


code, small = map_memory(4096, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(b"".join(map(assemble, (SMALL, LARGE, HERE, THERE))))
large = small + len(assemble(SMALL))
here_address = large + len(assemble(LARGE))
there = here_address + len(assemble(HERE))
here = ctypes.PYFUNCTYPE(ctypes.c_uint64, *[ctypes.c_void_p] * 4)(here_address)

if __name__ == "__main__":
    show("System V (Linux, macOS)", SYSTEM_V)
    show("Windows", WINDOWS)
    print(f"0x600d in xmm6, switched by System V's rules:  {after_a_switch(small, 0x600D):#x}")
    print(f"0x600d in xmm6, switched by Windows' rules:    {after_a_switch(large, 0x600D):#x}")
