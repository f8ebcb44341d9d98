/* native.c - see native.h. */
#include "native.h"

#include "cpu.h"
#include "task_syscall.h"

#include "../engine/base.h"
#include "../engine/peek.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACK_WORDS 1024
#define ANSWER_NS (20 * WF_NS_PER_MS)
#define MOST_SEGMENTS 512

struct place {
    uintptr_t pc, sp;
    uintptr_t stack[STACK_WORDS];
    size_t words;
};

static size_t copy_words(uintptr_t *to, uintptr_t from, size_t words)
{
    return wf_peek_some(to, (const void *)from, words * sizeof *to) / sizeof *to;
}

/* {=== A thread that runs ===} */

static struct {
    int signal;         /* 0: not chosen */
    _Atomic pid_t asked; /* whose registers are wanted; 0: nobody's, or no longer */
    sem_t answered;
    struct place place;
} sample;

static void handler(int signal, siginfo_t *info, void *context)
{
    pid_t self = (pid_t)syscall(SYS_gettid);
    int error = errno;

    (void)signal;
    (void)info;
    if (atomic_compare_exchange_strong(&sample.asked, &self, 0)) {
        sample.place.pc = wf_cpu_pc(context);
        sample.place.sp = wf_cpu_sp(context);
        sample.place.stack[0] = wf_cpu_link(context); /* as if it had been pushed */
        sample.place.words = 1 + copy_words(sample.place.stack + 1, sample.place.sp, STACK_WORDS - 1);
        sem_post(&sample.answered);
    }
    errno = error;
}

bool wf_native_init(void)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK}, old;

    if (sample.signal != 0)
        return true;
    sem_init(&sample.answered, 0, 0);
    sigfillset(&action.sa_mask);
    for (int signal = SIGRTMAX; signal >= SIGRTMIN; signal--)
        if (sigaction(signal, NULL, &old) == 0 && old.sa_handler == SIG_DFL
            && sigaction(signal, &action, NULL) == 0) {
            sample.signal = signal;
            return true;
        }
    return false;
}

static struct timespec realtime_after(int64_t ns)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until); /* what sem_timedwait counts in */
    ns += until.tv_nsec;
    return (struct timespec){until.tv_sec + ns / WF_NS_PER_S, ns % WF_NS_PER_S};
}

/* False if it does not answer: it has blocked the signal, or gets no processor. */
static bool ask(pid_t tid)
{
    struct timespec until = realtime_after(ANSWER_NS);
    pid_t expected = tid;

    if (sample.signal == 0)
        return false;
    atomic_store(&sample.asked, tid);
    if (syscall(SYS_tgkill, getpid(), tid, sample.signal) == 0 && sem_timedwait(&sample.answered, &until) == 0)
        return true;
    if (atomic_compare_exchange_strong(&sample.asked, &expected, 0))
        return false;
    sem_wait(&sample.answered); /* it has just begun to */
    return true;
}

/* {=== A thread that sleeps ===} */

static bool asleep(pid_t tid, struct place *place)
{
    char line[WF_TASK_SYSCALL_SIZE], *pc, *sp;

    if (!wf_task_syscall(tid, line))
        return false;
    pc = strrchr(line, ' ');
    if (pc == NULL)
        return false;
    *pc = '\0';
    sp = strrchr(line, ' ');
    if (sp == NULL || sscanf(pc + 1, "%lx", &place->pc) != 1 || sscanf(sp + 1, "%lx", &place->sp) != 1)
        return false;
    place->words = copy_words(place->stack, place->sp, STACK_WORDS);
    return true;
}

/* {=== Names ===} */

struct code {
    uintptr_t lo[MOST_SEGMENTS], hi[MOST_SEGMENTS];
    size_t count;
};

static int note_code(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct code *code = arg;

    (void)size;
    for (int i = 0; i < info->dlpi_phnum && code->count < MOST_SEGMENTS; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X))
            continue;
        code->lo[code->count] = info->dlpi_addr + segment->p_vaddr;
        code->hi[code->count] = code->lo[code->count] + segment->p_memsz;
        code->count++;
    }
    return 0;
}

static bool is_code(const struct code *code, uintptr_t address)
{
    for (size_t i = 0; i < code->count; i++)
        if (code->lo[i] + 8 <= address && address < code->hi[i])
            return true;
    return false;
}

static const void *libc_base(void)
{
    static const void *base;
    Dl_info info;

    if (base == NULL && dladdr(dlsym(RTLD_DEFAULT, "gnu_get_libc_version"), &info) != 0)
        base = info.dli_fbase;
    return base;
}

/* The function around `address`, if it is not libc's and has a name. */
static bool named(uintptr_t address, Dl_info *info)
{
    return dladdr((void *)address, info) != 0 && info->dli_sname != NULL && info->dli_fbase != libc_base();
}

/* There the C stack of Python code begins: CPython's own functions have said nothing about themselves until then. */
static bool is_python_calling(const Dl_info *info)
{
    return strcmp(info->dli_sname, "_PyEval_EvalFrameDefault") == 0
           || strcmp(info->dli_sname, "PyObject_Vectorcall") == 0;
}

static bool named_caller(const struct place *place, const struct code *code, Dl_info *info)
{
    for (size_t i = 0; i < place->words; i++) {
        uintptr_t address = wf_cpu_return_address(place->stack[i]);
        if (is_code(code, address) && wf_cpu_follows_call(address) && named(address - 1, info))
            return !is_python_calling(info);
    }
    return false;
}

static const char *file_name(const Dl_info *info)
{
    const char *slash = strrchr(info->dli_fname, '/');
    return slash != NULL ? slash + 1 : info->dli_fname;
}

static void describe(const struct place *place, char *text, size_t size)
{
    struct code code = {.count = 0};
    Dl_info info;

    dl_iterate_phdr(note_code, &code);
    if (named(place->pc, &info) || named_caller(place, &code, &info))
        snprintf(text, size, "%s (%s)", info.dli_sname, file_name(&info));
    else if (dladdr((void *)place->pc, &info) != 0 && info.dli_fbase != libc_base())
        snprintf(text, size, "(%s)", file_name(&info));
}

void wf_native_where(pid_t tid, char *text, size_t size)
{
    static struct place place; /* too large for the stack of whoever asks; only one ever does */

    *text = '\0';
    if (asleep(tid, &place))
        describe(&place, text, size);
    else if (ask(tid))
        describe(&sample.place, text, size);
}
