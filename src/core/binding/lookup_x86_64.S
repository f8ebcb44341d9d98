/* lookup_x86_64.S - the hooks for dlsym and dlvsym: look at what has been loaded, then be gone.
 *
 * hook_lookup.c says why there are any.  They cannot be written in C, because ld.so looks at the return address to
 * tell who asks: RTLD_NEXT is what comes after the caller's object, RTLD_DEFAULT what can be
 * seen from it.  So the real function is jumped to, with the stack as the caller left it.
 */
        .macro  look_and_go name
        .globl  hook_\name
        .hidden hook_\name
        .type   hook_\name, @function
        .balign 16
hook_\name:
        .cfi_startproc
        endbr64
        pushq   %rdi
        pushq   %rsi
        pushq   %rdx
        .cfi_adjust_cfa_offset 24
        call    wf_lookup_enter
        popq    %rdx
        popq    %rsi
        popq    %rdi
        .cfi_adjust_cfa_offset -24
        jmp     *wf_real_\name(%rip)
        .cfi_endproc
        .size   hook_\name, . - hook_\name
        .endm

        .text
        look_and_go dlsym
        look_and_go dlvsym
        .section .note.GNU-stack, "", @progbits
