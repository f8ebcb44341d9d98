/* thunk_aarch64.S - for each hook, a detour by way of a question: the hook, or the real function?
 *
 * The slots of an object with the policy RELEASE_ONLY hold the addresses of these thunks.  The answer depends on
 * whether the caller holds the GIL, so it is asked at each call; and it must be asked before the
 * hook, which cannot know whose call it is: a return address is no witness, since the last
 * call of a function is a jump.
 *
 *     thunk n:  n                    -> enter
 *     enter:    wf_thunk_target(n)   -> the hook or the real function, as if called directly
 *
 * What holds arguments is kept, x8 (where a structure is returned) with it.  None of the hooked functions
 * takes floating-point numbers, so vector registers are not.  x16 and x17 are for such detours: whoever calls through a
 * slot expects nothing of them.
 */
        .text
        .globl  wf_thunks
        .hidden wf_thunks
        .p2align 4
wf_thunks:
        .set    number, 0
        .rept   256                     /* WF_GOT_MOST_HOOKS; each 16 bytes, WF_THUNK_SIZE */
        .p2align 4
        mov     w16, #number
        b       enter
        .set    number, number + 1
        .endr

        .type   enter, %function
        .p2align 4
enter:
        .cfi_startproc
        stp     x29, x30, [sp, #-96]!
        .cfi_def_cfa_offset 96
        .cfi_offset x29, -96
        .cfi_offset x30, -88
        stp     x0, x1, [sp, #16]
        stp     x2, x3, [sp, #32]
        stp     x4, x5, [sp, #48]
        stp     x6, x7, [sp, #64]
        str     x8, [sp, #80]
        mov     w0, w16
        bl      wf_thunk_target
        mov     x16, x0
        ldr     x8, [sp, #80]
        ldp     x6, x7, [sp, #64]
        ldp     x4, x5, [sp, #48]
        ldp     x2, x3, [sp, #32]
        ldp     x0, x1, [sp, #16]
        ldp     x29, x30, [sp], #96
        .cfi_def_cfa_offset 0
        .cfi_restore x29
        .cfi_restore x30
        br      x16
        .cfi_endproc
        .size   enter, . - enter
        .section .note.GNU-stack, "", %progbits
