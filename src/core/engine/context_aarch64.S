/* context_aarch64.S - the switch, for the procedure call standard of AArch64 (Linux).
 *
 * A suspended computation is its stack pointer.  It points to this frame of 176 bytes (offsets
 * from sp, in hexadecimal):
 *
 *     +-------+-------+-------+-------+     +-------+-------+-------+-------+
 *     | 00    | 08    | 10    | 18    |     | 20    | 28    | 30    | 38    |
 *     |   d8  |   d9  |  d10  |  d11  |     |  d12  |  d13  |  d14  |  d15  |
 *     +-------+-------+-------+-------+     +-------+-------+-------+-------+
 *     | 40    | 48    | 50    | 58    |     | 60    | 68    | 70    | 78    |
 *     |  x19  |  x20  |  x21  |  x22  |     |  x23  |  x24  |  x25  |  x26  |
 *     +-------+-------+-------+-------+     +-------+-------+-------+-------+
 *     | 80    | 88    | 90    | 98    |     | a0    | a8    |
 *     |  x27  |  x28  |  x29  |returns|     | fpcr  | empty |
 *     |       |       |       |to: x30|     |       |       |
 *     +-------+-------+-------+-------+     +-------+-------+
 *     b0: where the caller's stack goes on, or, if it never ran, `top`
 *
 * The first frame, made by wf_context_init, is the same with
 *
 *     x19 = entry    x20 = arg    x29 = 0    returns to .Lstart in wf_context_trampoline
 *
 * and with the control word of whoever made it.  x29 = 0 ends the chain of frame pointers.
 *
 * Of the vector registers only the lower halves of v8 to v15 are a callee's to keep: d8 to d15.
 * x18 is the platform's and stays as it is.  fpcr holds the rounding mode; it is nearly always the
 * same on both sides and slow to write, so it is compared first.  fpsr, the exception flags, is
 * nobody's: the standard lets it leak.
 *
 * Unwinding is as in context_x86_64.S: the CFI is right at each instruction, also where the stack
 * pointers change places, because both stacks hold the same frame then.
 *
 * No pointer authentication.  A return address that was signed with one stack pointer cannot be
 * checked with another one, and that of a first frame was never signed at all.  A caller that signs
 * its own return address keeps it in its own frame, where we do not look.
 */

#define FRAME_D8   0x00
#define FRAME_D10  0x10
#define FRAME_D12  0x20
#define FRAME_D14  0x30
#define FRAME_X19  0x40
#define FRAME_X21  0x50
#define FRAME_X23  0x60
#define FRAME_X25  0x70
#define FRAME_X27  0x80
#define FRAME_X29  0x90
#define FRAME_X30  0x98
#define FRAME_FPCR 0xa0
#define FRAME_SIZE 0xb0

#define CONTEXT_SP 0x00 /* struct wf_context */

        .text

/* Tells the unwinder that sp points to a complete frame. */
        .macro  CFI_FRAME
        .cfi_def_cfa_offset FRAME_SIZE
        .cfi_offset d8, FRAME_D8 - FRAME_SIZE
        .cfi_offset d9, FRAME_D8 + 8 - FRAME_SIZE
        .cfi_offset d10, FRAME_D10 - FRAME_SIZE
        .cfi_offset d11, FRAME_D10 + 8 - FRAME_SIZE
        .cfi_offset d12, FRAME_D12 - FRAME_SIZE
        .cfi_offset d13, FRAME_D12 + 8 - FRAME_SIZE
        .cfi_offset d14, FRAME_D14 - FRAME_SIZE
        .cfi_offset d15, FRAME_D14 + 8 - FRAME_SIZE
        .cfi_offset x19, FRAME_X19 - FRAME_SIZE
        .cfi_offset x20, FRAME_X19 + 8 - FRAME_SIZE
        .cfi_offset x21, FRAME_X21 - FRAME_SIZE
        .cfi_offset x22, FRAME_X21 + 8 - FRAME_SIZE
        .cfi_offset x23, FRAME_X23 - FRAME_SIZE
        .cfi_offset x24, FRAME_X23 + 8 - FRAME_SIZE
        .cfi_offset x25, FRAME_X25 - FRAME_SIZE
        .cfi_offset x26, FRAME_X25 + 8 - FRAME_SIZE
        .cfi_offset x27, FRAME_X27 - FRAME_SIZE
        .cfi_offset x28, FRAME_X27 + 8 - FRAME_SIZE
        .cfi_offset x29, FRAME_X29 - FRAME_SIZE
        .cfi_offset x30, FRAME_X30 - FRAME_SIZE
        .endm

/* void wf_context_switch(struct wf_context *from [x0], const struct wf_context *to [x1]) */
        .globl  wf_context_switch
        .hidden wf_context_switch
        .type   wf_context_switch, %function
        .p2align 6
wf_context_switch:
        .cfi_startproc
        .cfi_remember_state

        /* Save what `from` must find again. */
        sub     sp, sp, #FRAME_SIZE
        .cfi_def_cfa_offset FRAME_SIZE
        stp     d8, d9, [sp, #FRAME_D8]
        stp     d10, d11, [sp, #FRAME_D10]
        stp     d12, d13, [sp, #FRAME_D12]
        stp     d14, d15, [sp, #FRAME_D14]
        stp     x19, x20, [sp, #FRAME_X19]
        stp     x21, x22, [sp, #FRAME_X21]
        stp     x23, x24, [sp, #FRAME_X23]
        stp     x25, x26, [sp, #FRAME_X25]
        stp     x27, x28, [sp, #FRAME_X27]
        stp     x29, x30, [sp, #FRAME_X29]
        mrs     x9, fpcr
        str     x9, [sp, #FRAME_FPCR]
        CFI_FRAME

        mov     x10, sp
        str     x10, [x0, #CONTEXT_SP]
        ldr     x10, [x1, #CONTEXT_SP]
        mov     sp, x10
wf_context_resumed:

        /* Load what `to` left. */
        ldr     x10, [sp, #FRAME_FPCR]
        cmp     x9, x10
        b.ne    .Lload_control
.Lload_registers:
        ldp     d8, d9, [sp, #FRAME_D8]
        ldp     d10, d11, [sp, #FRAME_D10]
        ldp     d12, d13, [sp, #FRAME_D12]
        ldp     d14, d15, [sp, #FRAME_D14]
        ldp     x19, x20, [sp, #FRAME_X19]
        ldp     x21, x22, [sp, #FRAME_X21]
        ldp     x23, x24, [sp, #FRAME_X23]
        ldp     x25, x26, [sp, #FRAME_X25]
        ldp     x27, x28, [sp, #FRAME_X27]
        ldp     x29, x30, [sp, #FRAME_X29]
        add     sp, sp, #FRAME_SIZE
        .cfi_restore_state
        ret

.Lload_control:
        CFI_FRAME
        msr     fpcr, x10
        b       .Lload_registers
        .cfi_endproc
        .size   wf_context_switch, . - wf_context_switch

/* The bottom of every green thread's stack: calls entry(arg), which never returns.
 *
 * It is entered by a `ret` to .Lstart, and an unwinder looks just before a return address for the
 * function that made the call.  The nop is that place.  The return address of this frame itself
 * is undefined, which tells unwinders that the stack ends here. */
        .globl  wf_context_trampoline
        .hidden wf_context_trampoline
        .type   wf_context_trampoline, %function
        .p2align 4
wf_context_trampoline:
        .cfi_startproc
        .cfi_undefined x30
        nop
.Lstart:
        mov     x0, x20
        blr     x19
        adrp    x0, .Lwhere
        add     x0, x0, #:lo12:.Lwhere
        adrp    x1, .Lfact
        add     x1, x1, #:lo12:.Lfact
        bl      wf_panic
        brk     #0
        .cfi_endproc
        .size   wf_context_trampoline, . - wf_context_trampoline

/* void wf_context_init(struct wf_context *c [x0], void *top [x1],
 *                      void (*entry)(void *) [x2], void *arg [x3]) */
        .globl  wf_context_init
        .hidden wf_context_init
        .type   wf_context_init, %function
        .p2align 4
wf_context_init:
        .cfi_startproc
        sub     x1, x1, #FRAME_SIZE
        str     x1, [x0, #CONTEXT_SP]
        stp     x2, x3, [x1, #FRAME_X19]
        adr     x9, .Lstart
        stp     xzr, x9, [x1, #FRAME_X29]
        mrs     x9, fpcr
        stp     x9, xzr, [x1, #FRAME_FPCR]
        stp     xzr, xzr, [x1, #FRAME_D8]
        stp     xzr, xzr, [x1, #FRAME_D10]
        stp     xzr, xzr, [x1, #FRAME_D12]
        stp     xzr, xzr, [x1, #FRAME_D14]
        stp     xzr, xzr, [x1, #FRAME_X21]
        stp     xzr, xzr, [x1, #FRAME_X23]
        stp     xzr, xzr, [x1, #FRAME_X25]
        stp     xzr, xzr, [x1, #FRAME_X27]
        ret
        .cfi_endproc
        .size   wf_context_init, . - wf_context_init

        .section .rodata.str1.1, "aMS", %progbits, 1
.Lwhere:
        .string "wf_context_trampoline"
.Lfact:
        .string "a green thread's entry returned"

        .section .note.GNU-stack, "", %progbits
