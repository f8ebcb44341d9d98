/* vfork_aarch64.S - the hook for vfork, which returns twice on the same stack.
 *
 * hook_process.c says why there is one.  It cannot be written in C: when the parent goes on, the child has run on
 * the stack below and overwritten whatever a C function had left there.  So the return address, which a call
 * inside would overwrite in x30, is kept by wf_vfork_enter, and nothing of ours is on the stack while the child lives.
 *
 *     hook_vfork:  take the return address         -> wf_vfork_enter(return address)
 *                  the real vfork                  both return here, the child first
 *                  wf_vfork_leave(result)          -> the return address
 *                  return to it with the result
 *
 * Between the two the CFI cannot say where the return address is; an unwinder stops there.
 */
        .text
        .globl  hook_vfork
        .hidden hook_vfork
        .type   hook_vfork, %function
        .p2align 4
hook_vfork:
        .cfi_startproc
        mov     x0, x30
        .cfi_register x30, x0
        bl      wf_vfork_enter
        .cfi_undefined x30
        adrp    x16, wf_real_vfork
        ldr     x16, [x16, #:lo12:wf_real_vfork]
        blr     x16
        str     x0, [sp, #-16]!
        .cfi_def_cfa_offset 16
        bl      wf_vfork_leave
        mov     x30, x0
        .cfi_restore x30
        ldr     x0, [sp], #16
        .cfi_def_cfa_offset 0
        ret
        .cfi_endproc
        .size   hook_vfork, . - hook_vfork
        .section .note.GNU-stack, "", %progbits
