/* lookup_aarch64.S - the hooks for dlsym and dlvsym: look at what has been loaded, then be gone.
 *
 * hook_lookup.c says why there are any.  They cannot be written in C, because ld.so looks at the return address to
 * tell who asks: RTLD_NEXT is what comes after the caller's object, RTLD_DEFAULT what can be
 * seen from it.  So the real function is jumped to, with x30 as the caller left it.
 *
 * The jump is by x16, as a PLT's is.
 */
        .macro  look_and_go name
        .globl  hook_\name
        .hidden hook_\name
        .type   hook_\name, %function
        .p2align 4
hook_\name:
        .cfi_startproc
        stp     x29, x30, [sp, #-48]!
        .cfi_def_cfa_offset 48
        .cfi_offset x29, -48
        .cfi_offset x30, -40
        stp     x0, x1, [sp, #16]
        str     x2, [sp, #32]
        bl      wf_lookup_enter
        ldr     x2, [sp, #32]
        ldp     x0, x1, [sp, #16]
        ldp     x29, x30, [sp], #48
        .cfi_def_cfa_offset 0
        .cfi_restore x29
        .cfi_restore x30
        adrp    x16, wf_real_\name
        ldr     x16, [x16, #:lo12:wf_real_\name]
        br      x16
        .cfi_endproc
        .size   hook_\name, . - hook_\name
        .endm

        .text
        look_and_go dlsym
        look_and_go dlvsym
        .section .note.GNU-stack, "", %progbits
