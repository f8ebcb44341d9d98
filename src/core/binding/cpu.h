/* cpu.h - what C code must know of a processor: four relocations, a few registers, and what a call looks like.
 *
 * What else depends on it is assembly, a file for each: context_<cpu>.S, thunk_<cpu>.S, lookup_<cpu>.S, vfork_<cpu>.S, and
 * where it has descriptors of thread-local variables, tls_resolver_<cpu>.S.  A port is these and a part of this file.
 *
 * Registers are those of a signal's context, which is a ucontext_t:
 *     wf_cpu_pc    where it was
 *     wf_cpu_sp    the end of its stack
 *     wf_cpu_link  where it returns to, if that is not on the stack yet: 0 where a call pushes it
 */
#ifndef WF_CPU_H
#define WF_CPU_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#if defined(__x86_64__)

enum {
    WF_JUMP_SLOT = R_X86_64_JUMP_SLOT,
    WF_GLOB_DAT = R_X86_64_GLOB_DAT,
    WF_ABSOLUTE = R_X86_64_64,
    WF_TLS_DESCRIPTOR = R_X86_64_TLSDESC,
};

/* What to put into descriptors of thread-local variables (tls_descriptor.h); NULL: they are left alone. */
#define WF_CPU_TLS_RESOLVER NULL

static inline uintptr_t wf_cpu_pc(const ucontext_t *context)
{
    return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
}

static inline uintptr_t wf_cpu_sp(const ucontext_t *context)
{
    return (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
}

static inline uintptr_t wf_cpu_link(const ucontext_t *context)
{
    (void)context;
    return 0;
}

/* The address in a word of the stack that may be a return address. */
static inline uintptr_t wf_cpu_return_address(uintptr_t word)
{
    return word;
}

/* Of a function that may be called with the stack aligned to 8 bytes only. */
#define WF_CPU_ALIGNS_STACK __attribute__((force_align_arg_pointer))

/* Does a call end here?  E8 and four bytes; or FF, with 2 in the middle bits of the next byte, two to seven bytes.
 * The eight bytes before `address` can be read. */
static inline bool wf_cpu_follows_call(uintptr_t address)
{
    const unsigned char *end = (const unsigned char *)address;

    if (end[-5] == 0xE8)
        return true;
    for (int len = 2; len <= 7; len++)
        if (end[-len] == 0xFF && (end[1 - len] >> 3 & 7) == 2)
            return true;
    return false;
}

#elif defined(__aarch64__)

enum {
    WF_JUMP_SLOT = R_AARCH64_JUMP_SLOT,
    WF_GLOB_DAT = R_AARCH64_GLOB_DAT,
    WF_ABSOLUTE = R_AARCH64_ABS64,
    WF_TLS_DESCRIPTOR = R_AARCH64_TLSDESC,
};

/* tls_resolver_aarch64.S */
void wf_tls_resolver(void) __attribute__((visibility("hidden")));
#define WF_CPU_TLS_RESOLVER ((void *)wf_tls_resolver)

static inline uintptr_t wf_cpu_pc(const ucontext_t *context)
{
    return context->uc_mcontext.pc;
}

static inline uintptr_t wf_cpu_sp(const ucontext_t *context)
{
    return context->uc_mcontext.sp;
}

static inline uintptr_t wf_cpu_link(const ucontext_t *context)
{
    return context->uc_mcontext.regs[30];
}

/* Code that authenticates its return addresses keeps a signature in the bits that no address uses. */
static inline uintptr_t wf_cpu_return_address(uintptr_t word)
{
    return word & ((UINT64_C(1) << 48) - 1);
}

/* The processor itself insists on 16 bytes. */
#define WF_CPU_ALIGNS_STACK

/* BL; or BLR and its authenticating relatives. */
static inline bool wf_cpu_follows_call(uintptr_t address)
{
    uint32_t instruction;

    if (address % sizeof instruction != 0)
        return false;
    instruction = ((const uint32_t *)address)[-1];
    return (instruction & 0xFC000000) == 0x94000000 || (instruction & 0xFEFFF000) == 0xD63F0000;
}

#else
#error "cpu.h: weft does not know this processor"
#endif

#endif
