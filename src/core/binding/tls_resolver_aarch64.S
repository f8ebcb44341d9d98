/* tls_resolver_aarch64.S - the function that we put into descriptors of thread-local variables.
 *
 * tls_descriptor.h says what they are.  Who calls it expects every register kept but x0, where the descriptor's address
 * comes in and the answer goes out; even those that C functions are free to use, so there is no way to write it in C.
 * Of vector registers the 128 bits that every processor has are kept; compilers do not rely on more.
 *
 *     wf_tls_resolver:  wf_tls_distance(descriptor, thread pointer) -> the distance
 */

#define FRAME_SIZE (16 + 18 * 8 + 32 * 16)
#define FRAME_X1   16
#define FRAME_Q0   (16 + 18 * 8)

        .altmacro
        .macro  x_pair operation, n, next
        \operation x\n, x\next, [sp, #FRAME_X1 + (\n - 1) * 8]
        .endm
        .macro  q_pair operation, n, next
        \operation q\n, q\next, [sp, #FRAME_Q0 + \n * 16]
        .endm
        .macro  all operation
        .set    n, 1
        .rept   9
        x_pair  \operation, %n, %(n + 1)
        .set    n, n + 2
        .endr
        .set    n, 0
        .rept   16
        q_pair  \operation, %n, %(n + 1)
        .set    n, n + 2
        .endr
        .endm

        .text
        .globl  wf_tls_resolver
        .hidden wf_tls_resolver
        .type   wf_tls_resolver, %function
        .p2align 4
wf_tls_resolver:
        .cfi_startproc
        sub     sp, sp, #FRAME_SIZE
        .cfi_def_cfa_offset FRAME_SIZE
        stp     x29, x30, [sp]
        .cfi_offset x29, -FRAME_SIZE
        .cfi_offset x30, 8 - FRAME_SIZE
        all     stp
        mrs     x1, tpidr_el0
        bl      wf_tls_distance
        all     ldp
        ldp     x29, x30, [sp]
        add     sp, sp, #FRAME_SIZE
        .cfi_def_cfa_offset 0
        .cfi_restore x29
        .cfi_restore x30
        ret
        .cfi_endproc
        .size   wf_tls_resolver, . - wf_tls_resolver
        .section .note.GNU-stack, "", %progbits
