/* vfork_x86_64.S - the hook for vfork, which returns twice on the same stack.
 *
 * hook_process.c says why there is one.  It cannot be written in C: when the parent goes on, the child has run on
 * the stack below and overwritten whatever a C function had left there.  So the return address is taken off the
 * stack and kept by wf_vfork_enter, and nothing of ours is on the stack while the child lives.
 *
 *     hook_vfork:  take the return address off     -> wf_vfork_enter(return address)
 *                  the real vfork                  both return here, the child first
 *                  wf_vfork_leave(result)          -> the return address
 *                  return to it with the result
 */
        .text
        .globl  hook_vfork
        .hidden hook_vfork
        .type   hook_vfork, @function
        .balign 16
hook_vfork:
        .cfi_startproc
        endbr64
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        .cfi_register rip, rdi
        call    wf_vfork_enter
        call    *wf_real_vfork(%rip)
        pushq   %rax
        subq    $8, %rsp
        movl    %eax, %edi
        call    wf_vfork_leave
        addq    $8, %rsp
        popq    %rdx
        pushq   %rax
        movq    %rdx, %rax
        ret
        .cfi_endproc
        .size   hook_vfork, . - hook_vfork
        .section .note.GNU-stack, "", @progbits
