/* context_x86_64.S - the switch, for the System V ABI on x86-64.
 *
 * A suspended computation is its stack pointer.  It points to this frame of 64 bytes,
 * a cache line's worth (offsets from sp, in hexadecimal):
 *
 *     +-------+-------+---------------+---------------+---------------+
 *     | 00    | 04    | 08            | 10            | 18            |
 *     | mxcsr | x87cw |      r12      |      r13      |      r14      |
 *     +-------+-------+---------------+---------------+---------------+
 *     | 20            | 28            | 30            | 38            |
 *     |      r15      |      rbx      |      rbp      |   returns to  |
 *     +---------------+---------------+---------------+---------------+
 *     40: where the caller's stack goes on, or, if it never ran, `top`
 *
 * (x87cw fills 2 bytes of its 4.)  The first frame, made by wf_context_init, is the same with
 *
 *     rbx = entry    r12 = arg    rbp = 0    returns to .Lstart in wf_context_trampoline
 *
 * and with the control words of whoever made it, as a new OS thread has its creator's.
 * rbp = 0 ends the chain for those who walk frame pointers (perf --call-graph fp).
 *
 * Unwinding.  The CFI is right at each instruction.  After the stack pointers are exchanged
 * it needs no change, because both stacks then hold the same frame: the rules that
 * described the old one describe the new one.  To see where a suspended green thread stands,
 * a debugger needs nothing but its sp:
 *
 *     (gdb) set $sp = fiber->context.sp
 *     (gdb) set $pc = wf_context_resumed
 *     (gdb) backtrace
 *
 * (Before the program goes on, both registers must have their old values again.)
 *
 * The control words are nearly always the same on both sides, so they are compared and seldom
 * loaded: 3.4 ns per switch against 4.5 with loads every time, 3.3 with neither (AMD EPYC).  They
 * are compared one by one; read back as a single word of 8 bytes they would stall, because
 * the narrower stores just before cannot be forwarded to the wider load.  mxcsr also carries the
 * exception flags.  The ABI lets them leak from one side to the other; we do not.
 *
 * `ret`, not a jump through a register: the processor's stack of return addresses then stays in
 * step, and all returns up the call chain are predicted as long as both sides were
 * suspended by the same chain.  With a jump all of them miss (three calls deep: 24 ns per switch).
 *
 * endbr64 says that these functions may be called through a pointer.  No .note.gnu.property: it
 * would promise a shadow stack that follows us, and a shadow stack does not.
 */

#define FRAME_MXCSR 0x00
#define FRAME_X87CW 0x04
#define FRAME_R12   0x08
#define FRAME_R13   0x10
#define FRAME_R14   0x18
#define FRAME_R15   0x20
#define FRAME_RBX   0x28
#define FRAME_RBP   0x30
#define FRAME_RIP   0x38
#define FRAME_SIZE  0x40

#define CONTEXT_SP  0x00 /* struct wf_context */

        .text

/* Tells the unwinder that rsp points to a complete frame. */
        .macro  CFI_FRAME
        .cfi_def_cfa_offset FRAME_SIZE
        .cfi_offset %r12, FRAME_R12 - FRAME_SIZE
        .cfi_offset %r13, FRAME_R13 - FRAME_SIZE
        .cfi_offset %r14, FRAME_R14 - FRAME_SIZE
        .cfi_offset %r15, FRAME_R15 - FRAME_SIZE
        .cfi_offset %rbx, FRAME_RBX - FRAME_SIZE
        .cfi_offset %rbp, FRAME_RBP - FRAME_SIZE
        .endm

/* void wf_context_switch(struct wf_context *from [rdi], const struct wf_context *to [rsi]) */
        .globl  wf_context_switch
        .hidden wf_context_switch
        .type   wf_context_switch, @function
        .p2align 6
wf_context_switch:
        .cfi_startproc
        .cfi_remember_state
        endbr64

        /* Save what `from` must find again.  The call left FRAME_RIP for us. */
        subq    $FRAME_RIP, %rsp
        .cfi_def_cfa_offset FRAME_SIZE
        movq    %r12, FRAME_R12(%rsp)
        movq    %r13, FRAME_R13(%rsp)
        movq    %r14, FRAME_R14(%rsp)
        movq    %r15, FRAME_R15(%rsp)
        movq    %rbx, FRAME_RBX(%rsp)
        movq    %rbp, FRAME_RBP(%rsp)
        stmxcsr FRAME_MXCSR(%rsp)
        fnstcw  FRAME_X87CW(%rsp)
        CFI_FRAME
        movl    FRAME_MXCSR(%rsp), %eax
        movzwl  FRAME_X87CW(%rsp), %ecx

        movq    %rsp, CONTEXT_SP(%rdi)
        movq    CONTEXT_SP(%rsi), %rsp
wf_context_resumed:

        /* Load what `to` left. */
        cmpl    %eax, FRAME_MXCSR(%rsp)
        jne     .Lload_control
        cmpw    %cx, FRAME_X87CW(%rsp)
        jne     .Lload_control
.Lload_registers:
        movq    FRAME_R12(%rsp), %r12
        movq    FRAME_R13(%rsp), %r13
        movq    FRAME_R14(%rsp), %r14
        movq    FRAME_R15(%rsp), %r15
        movq    FRAME_RBX(%rsp), %rbx
        movq    FRAME_RBP(%rsp), %rbp
        addq    $FRAME_RIP, %rsp
        .cfi_restore_state
        ret

.Lload_control:
        CFI_FRAME
        ldmxcsr FRAME_MXCSR(%rsp)
        fldcw   FRAME_X87CW(%rsp)
        jmp     .Lload_registers
        .cfi_endproc
        .size   wf_context_switch, . - wf_context_switch

/* The bottom of every green thread's stack: calls entry(arg), which never returns.
 *
 * It is entered by a `ret` to .Lstart, and an unwinder looks one byte before a return address
 * for the function that made the call.  The nop is that byte.  The return address of this
 * frame itself is undefined, which tells unwinders that the stack ends here.
 *
 * rsp is `top` at .Lstart, so the call finds it aligned to 16 as the ABI wants. */
        .globl  wf_context_trampoline
        .hidden wf_context_trampoline
        .type   wf_context_trampoline, @function
        .p2align 4
wf_context_trampoline:
        .cfi_startproc
        .cfi_undefined %rip
        nop
.Lstart:
        movq    %r12, %rdi
        call    *%rbx
        leaq    .Lwhere(%rip), %rdi
        leaq    .Lfact(%rip), %rsi
        call    wf_panic@PLT
        ud2
        .cfi_endproc
        .size   wf_context_trampoline, . - wf_context_trampoline

/* void wf_context_init(struct wf_context *c [rdi], void *top [rsi],
 *                      void (*entry)(void *) [rdx], void *arg [rcx]) */
        .globl  wf_context_init
        .hidden wf_context_init
        .type   wf_context_init, @function
        .p2align 4
wf_context_init:
        .cfi_startproc
        endbr64
        subq    $FRAME_SIZE, %rsi
        movq    %rsi, CONTEXT_SP(%rdi)
        leaq    .Lstart(%rip), %rax
        movq    %rax, FRAME_RIP(%rsi)
        movq    %rdx, FRAME_RBX(%rsi)
        movq    %rcx, FRAME_R12(%rsi)
        xorl    %eax, %eax
        movq    %rax, FRAME_RBP(%rsi)
        movq    %rax, FRAME_R13(%rsi)
        movq    %rax, FRAME_R14(%rsi)
        movq    %rax, FRAME_R15(%rsi)
        stmxcsr FRAME_MXCSR(%rsi)
        fnstcw  FRAME_X87CW(%rsi)
        ret
        .cfi_endproc
        .size   wf_context_init, . - wf_context_init

        .section .rodata.str1.1, "aMS", @progbits, 1
.Lwhere:
        .string "wf_context_trampoline"
.Lfact:
        .string "a green thread's entry returned"

        .section .note.GNU-stack, "", @progbits
