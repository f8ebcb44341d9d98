/* context_x86_64_windows.S - the switch, for Windows on x86-64.
 *
 * A suspended computation is its stack pointer.  It points to this frame of 272 bytes (offsets
 * from sp, in hexadecimal):
 *
 *     +-------------------------------+-------------------------------+
 *     | 00                       xmm6 | 10                       xmm7 |
 *     | 20                       xmm8 | 30                       xmm9 |
 *     | 40                      xmm10 | 50                      xmm11 |
 *     | 60                      xmm12 | 70                      xmm13 |
 *     | 80                      xmm14 | 90                      xmm15 |
 *     +-------+-------+---------------+---------------+---------------+
 *     | a0    | a4    | a8            | b0            | b8            |
 *     | mxcsr | x87cw |  stack's base |    and limit  |  deallocation |
 *     +-------+-------+---------------+---------------+---------------+
 *     | c0            | c8            | d0            | d8            |
 *     |     empty     |      r12      |      r13      |      r14      |
 *     +---------------+---------------+---------------+---------------+
 *     | e0            | e8            | f0            | f8            |
 *     |      r15      |      rdi      |      rsi      |      rbx      |
 *     +---------------+---------------+---------------+---------------+
 *     | 100           | 108           |
 *     |      rbp      |   returns to  |
 *     +---------------+---------------+
 *     110: where the caller's stack goes on, or, if it never ran, 48 bytes below `top`
 *
 * Three things make it four times as large as System V's frame: ten vector registers belong to the
 * caller here, whole; so do rdi and rsi; and the system wants to know the bounds of the stack.
 * They stand in the thread's information block, at gs:0.  StackBase is the upper end, StackLimit
 * how far down pages are ready, DeallocationStack the lower end of it all.  Exceptions are delivered
 * only to frames between the first two, and CPython asks for the outer two.
 *
 * The first frame, made by wf_context_init, has
 *
 *     rbx = entry    r12 = arg    rbp = 0    returns to .Lstart in wf_context_trampoline
 *
 * the control words of whoever made it, `top` as the base, and 0 for the other two: "as far down as
 * you like", which is right for memory without a guard page of the system's kind.  Whoever knows
 * the stack's lower end says so with wf_context_set_lo.  Of the 48 bytes above the first frame 32 are
 * room for entry's arguments, as every caller leaves it; then comes a return address of 0, where
 * a walk of the stack ends.
 *
 * Not saved: FiberData, which belongs to the system's own fibers, and GuaranteedStackBytes.
 *
 * Unwinding.  The .seh directives describe the saves as a prologue, in its order.  After the stack
 * pointers are exchanged they still hold, because both stacks then hold the same frame.
 */

#define FRAME_XMM(n) ((n - 6) * 0x10)
#define FRAME_MXCSR 0xa0
#define FRAME_X87CW 0xa4
#define FRAME_BASE  0xa8
#define FRAME_LIMIT 0xb0
#define FRAME_DEALLOCATION 0xb8
#define FRAME_R12   0xc8
#define FRAME_R13   0xd0
#define FRAME_R14   0xd8
#define FRAME_R15   0xe0
#define FRAME_RDI   0xe8
#define FRAME_RSI   0xf0
#define FRAME_RBX   0xf8
#define FRAME_RBP   0x100
#define FRAME_RIP   0x108
#define FRAME_SIZE  0x110

#define CONTEXT_SP  0x00 /* struct wf_context */

#define TIB_BASE    %gs:0x08
#define TIB_LIMIT   %gs:0x10
#define TIB_DEALLOCATION %gs:0x1478

#define SHADOW 0x20 /* what a caller leaves free for its callee's four arguments */

        .text

        .macro  SAVE register, at
        movq    \register, \at(%rsp)
        .seh_savereg \register, \at
        .endm

        .macro  SAVE_XMM register, at
        movaps  \register, \at(%rsp)
        .seh_savexmm \register, \at
        .endm

/* void wf_context_switch(struct wf_context *from [rcx], const struct wf_context *to [rdx]) */
        .globl  wf_context_switch
        .def    wf_context_switch
        .scl    2
        .type   32
        .endef
        .p2align 6
        .seh_proc wf_context_switch
wf_context_switch:
        /* Save what `from` must find again.  The call left FRAME_RIP for us. */
        subq    $FRAME_RIP, %rsp
        .seh_stackalloc FRAME_RIP
        SAVE    %r12, FRAME_R12
        SAVE    %r13, FRAME_R13
        SAVE    %r14, FRAME_R14
        SAVE    %r15, FRAME_R15
        SAVE    %rdi, FRAME_RDI
        SAVE    %rsi, FRAME_RSI
        SAVE    %rbx, FRAME_RBX
        SAVE    %rbp, FRAME_RBP
        SAVE_XMM %xmm6, FRAME_XMM(6)
        SAVE_XMM %xmm7, FRAME_XMM(7)
        SAVE_XMM %xmm8, FRAME_XMM(8)
        SAVE_XMM %xmm9, FRAME_XMM(9)
        SAVE_XMM %xmm10, FRAME_XMM(10)
        SAVE_XMM %xmm11, FRAME_XMM(11)
        SAVE_XMM %xmm12, FRAME_XMM(12)
        SAVE_XMM %xmm13, FRAME_XMM(13)
        SAVE_XMM %xmm14, FRAME_XMM(14)
        SAVE_XMM %xmm15, FRAME_XMM(15)
        .seh_endprologue
        stmxcsr FRAME_MXCSR(%rsp)
        fnstcw  FRAME_X87CW(%rsp)
        movq    TIB_BASE, %rax
        movq    %rax, FRAME_BASE(%rsp)
        movq    TIB_LIMIT, %rax
        movq    %rax, FRAME_LIMIT(%rsp)
        movq    TIB_DEALLOCATION, %rax
        movq    %rax, FRAME_DEALLOCATION(%rsp)
        movl    FRAME_MXCSR(%rsp), %r8d
        movzwl  FRAME_X87CW(%rsp), %r9d

        movq    %rsp, CONTEXT_SP(%rcx)
        movq    CONTEXT_SP(%rdx), %rsp
wf_context_resumed:

        /* Load what `to` left, the bounds first: until they are right no exception may happen. */
        movq    FRAME_BASE(%rsp), %rax
        movq    %rax, TIB_BASE
        movq    FRAME_LIMIT(%rsp), %rax
        movq    %rax, TIB_LIMIT
        movq    FRAME_DEALLOCATION(%rsp), %rax
        movq    %rax, TIB_DEALLOCATION
        cmpl    %r8d, FRAME_MXCSR(%rsp)
        jne     .Lload_control
        cmpw    %r9w, FRAME_X87CW(%rsp)
        jne     .Lload_control
.Lload_registers:
        movaps  FRAME_XMM(6)(%rsp), %xmm6
        movaps  FRAME_XMM(7)(%rsp), %xmm7
        movaps  FRAME_XMM(8)(%rsp), %xmm8
        movaps  FRAME_XMM(9)(%rsp), %xmm9
        movaps  FRAME_XMM(10)(%rsp), %xmm10
        movaps  FRAME_XMM(11)(%rsp), %xmm11
        movaps  FRAME_XMM(12)(%rsp), %xmm12
        movaps  FRAME_XMM(13)(%rsp), %xmm13
        movaps  FRAME_XMM(14)(%rsp), %xmm14
        movaps  FRAME_XMM(15)(%rsp), %xmm15
        movq    FRAME_R12(%rsp), %r12
        movq    FRAME_R13(%rsp), %r13
        movq    FRAME_R14(%rsp), %r14
        movq    FRAME_R15(%rsp), %r15
        movq    FRAME_RDI(%rsp), %rdi
        movq    FRAME_RSI(%rsp), %rsi
        movq    FRAME_RBX(%rsp), %rbx
        movq    FRAME_RBP(%rsp), %rbp
        addq    $FRAME_RIP, %rsp
        ret

.Lload_control:
        ldmxcsr FRAME_MXCSR(%rsp)
        fldcw   FRAME_X87CW(%rsp)
        jmp     .Lload_registers
        .seh_endproc

/* The bottom of every green thread's stack: calls entry(arg), which never returns.
 *
 * It is entered by a `ret` to .Lstart, with its frame in place as the prologue would have made it.
 * The nop is for unwinders, which look one byte before a return address. */
        .globl  wf_context_trampoline
        .p2align 4
        .seh_proc wf_context_trampoline
wf_context_trampoline:
        subq    $SHADOW, %rsp
        .seh_stackalloc SHADOW
        .seh_endprologue
        nop
.Lstart:
        movq    %r12, %rcx
        call    *%rbx
        leaq    .Lwhere(%rip), %rcx
        leaq    .Lfact(%rip), %rdx
        call    wf_panic
        ud2
        .seh_endproc

/* void wf_context_init(struct wf_context *c [rcx], void *top [rdx],
 *                      void (*entry)(void *) [r8], void *arg [r9]) */
        .globl  wf_context_init
        .p2align 4
wf_context_init:
        leaq    .Lstart(%rip), %r10
        xorl    %eax, %eax
        movq    %rax, -0x10(%rdx)
        leaq    -0x10-SHADOW-FRAME_SIZE(%rdx), %r11
        movq    %r11, CONTEXT_SP(%rcx)
        movq    %r10, FRAME_RIP(%r11)
        movq    %r8, FRAME_RBX(%r11)
        movq    %r9, FRAME_R12(%r11)
        movq    %rax, FRAME_RBP(%r11)
        movq    %rax, FRAME_R13(%r11)
        movq    %rax, FRAME_R14(%r11)
        movq    %rax, FRAME_R15(%r11)
        movq    %rax, FRAME_RDI(%r11)
        movq    %rax, FRAME_RSI(%r11)
        movq    %rdx, FRAME_BASE(%r11)
        movq    %rax, FRAME_LIMIT(%r11)
        movq    %rax, FRAME_DEALLOCATION(%r11)
        stmxcsr FRAME_MXCSR(%r11)
        fnstcw  FRAME_X87CW(%r11)
        ret

/* void wf_context_set_lo(struct wf_context *c [rcx], void *lo [rdx]) */
        .globl  wf_context_set_lo
        .p2align 4
wf_context_set_lo:
        movq    CONTEXT_SP(%rcx), %rax
        movq    %rdx, FRAME_LIMIT(%rax)
        movq    %rdx, FRAME_DEALLOCATION(%rax)
        ret

        .section .rdata, "dr"
.Lwhere:
        .asciz  "wf_context_trampoline"
.Lfact:
        .asciz  "a green thread's entry returned"
