/* thunk_x86_64.S - for each hook, a detour by way of a question: the hook, or the real function?
 *
 * The slots of an object with the policy RELEASE_ONLY hold the addresses of these thunks.  The answer depends on
 * whether the caller holds the GIL, so it is asked at each call; and it must be asked before the
 * hook, which cannot know whose call it is: a return address is no witness, since the last
 * call of a function is a jump.
 *
 *     thunk n:  n                    -> enter
 *     enter:    wf_thunk_target(n)   -> the hook or the real function, as if called directly
 *
 * What holds arguments is kept.  None of the hooked functions takes floating-point numbers, so
 * vector registers are not; %rax says how many a variadic function got.
 */
        .text
        .globl  wf_thunks
        .hidden wf_thunks
        .balign 16
wf_thunks:
        .set    number, 0
        .rept   256                     /* WF_GOT_MOST_HOOKS; each 16 bytes, WF_THUNK_SIZE */
        .balign 16
        endbr64
        movl    $number, %r11d
        jmp     enter
        .set    number, number + 1
        .endr

        .type   enter, @function
        .balign 16
enter:
        .cfi_startproc
        pushq   %rdi
        pushq   %rsi
        pushq   %rdx
        pushq   %rcx
        pushq   %r8
        pushq   %r9
        pushq   %rax
        .cfi_adjust_cfa_offset 56
        movl    %r11d, %edi
        call    wf_thunk_target
        movq    %rax, %r11
        popq    %rax
        popq    %r9
        popq    %r8
        popq    %rcx
        popq    %rdx
        popq    %rsi
        popq    %rdi
        .cfi_adjust_cfa_offset -56
        jmp     *%r11
        .cfi_endproc
        .size   enter, . - enter
        .section .note.GNU-stack, "", @progbits
