/* context_x86_64_macos.S - the switch, for macOS on x86-64.
 *
 * The ABI is System V's: the frame, its first state and the reasons are those drawn in
 * context_x86_64.S.  What differs is the object format, Mach-O:
 *
 *   - A C name has an underscore before it in the symbol table.
 *   - Hidden is called private_extern; symbols have neither types nor sizes.
 *   - A label that is to stay out of the symbol table begins with L, without a dot.
 *   - The linker may drop or move whatever lies between two symbols, so Lstart has to lie behind
 *     the trampoline's own.
 *   - There is no lazy PLT that we would have to name, and no note about executable stacks.
 *   - wf_context_resumed, the name for debuggers, stays a local one: a real symbol would begin
 *     a piece of its own.
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

        .section __TEXT,__text,regular,pure_instructions

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
        .globl  _wf_context_switch
        .private_extern _wf_context_switch
        .p2align 6
_wf_context_switch:
        .cfi_startproc
        .cfi_remember_state

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
Lwf_context_resumed:

        /* Load what `to` left. */
        cmpl    %eax, FRAME_MXCSR(%rsp)
        jne     Lload_control
        cmpw    %cx, FRAME_X87CW(%rsp)
        jne     Lload_control
Lload_registers:
        movq    FRAME_R12(%rsp), %r12
        movq    FRAME_R13(%rsp), %r13
        movq    FRAME_R14(%rsp), %r14
        movq    FRAME_R15(%rsp), %r15
        movq    FRAME_RBX(%rsp), %rbx
        movq    FRAME_RBP(%rsp), %rbp
        addq    $FRAME_RIP, %rsp
        .cfi_restore_state
        ret

Lload_control:
        CFI_FRAME
        ldmxcsr FRAME_MXCSR(%rsp)
        fldcw   FRAME_X87CW(%rsp)
        jmp     Lload_registers
        .cfi_endproc

/* The bottom of every green thread's stack: calls entry(arg), which never returns.  The nop is for
 * unwinders, which look one byte before a return address; this frame's own is undefined. */
        .globl  _wf_context_trampoline
        .private_extern _wf_context_trampoline
        .p2align 4
_wf_context_trampoline:
        .cfi_startproc
        .cfi_undefined %rip
        nop
Lstart:
        movq    %r12, %rdi
        call    *%rbx
        leaq    Lwhere(%rip), %rdi
        leaq    Lfact(%rip), %rsi
        call    _wf_panic
        ud2
        .cfi_endproc

/* void wf_context_init(struct wf_context *c [rdi], void *top [rsi],
 *                      void (*entry)(void *) [rdx], void *arg [rcx]) */
        .globl  _wf_context_init
        .private_extern _wf_context_init
        .p2align 4
_wf_context_init:
        .cfi_startproc
        subq    $FRAME_SIZE, %rsi
        movq    %rsi, CONTEXT_SP(%rdi)
        leaq    Lstart(%rip), %rax
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

        .section __TEXT,__cstring,cstring_literals
Lwhere:
        .asciz  "wf_context_trampoline"
Lfact:
        .asciz  "a green thread's entry returned"

        .subsections_via_symbols
