/* tstate.c - thread states made, bound, swapped and reused; tstate.h has the idea.
 *
 * Reuse.  PyThreadState_New takes a lock and an allocation, PyThreadState_Delete the reverse,
 * and a data stack costs an mmap: together some 8 us per thread.  A stack, its thread state and its data stack
 * therefore stay together and serve one green thread after another.  Between two lives PyThreadState_Clear does the clearing,
 * because it knows what each version keeps; afterwards we take back the flag that says "cleared".
 *
 * Identity.  Caches inside CPython name a thread by tstate->id (contextvars; the running
 * loop of asyncio before 3.13), so every life gets a fresh one, from a range the
 * interpreter's own counter will not reach.
 */
#define Py_BUILD_CORE 1 /* where the bound thread state is kept has no public setter; nor have calls for any thread */
#include "tstate.h"

#include "internal/pycore_ceval.h"
#include "internal/pycore_runtime.h"
#if PY_VERSION_HEX < 0x030E0000
#include "internal/pycore_frame.h" /* for its layout */
#endif
#undef Py_BUILD_CORE

#include "../engine/base.h"
#include "../engine/peek.h"

#include <dlfcn.h>
#include <link.h>

#define FIRST_ID (UINT64_C(1) << 40)

/* C recursion: CPython 3.12 and 3.13 count levels instead of watching the stack pointer.  Measured on
 * x86-64 with -O3: the greediest ordinary path (sorted with a key that recurses) takes
 * 1.3 KiB of C stack per count, so 1.5 KiB leaves a margin. */
#define STACK_PER_C_LEVEL 1536

#if PY_VERSION_HEX >= 0x030E0000
typedef int (*set_stack_protection)(PyThreadState *, void *, size_t);
static set_stack_protection protect;
#endif

/* {=== The slot of the bound thread state ===}
 *
 * Up to 3.14 it is a pthread key, which the runtime structure names.  From 3.15 on it is a thread-local variable
 * that nobody exports.  We find it: while detached, it is the only word among CPython's thread-local
 * variables that holds our thread state (the current one is NULL then).  Variables of objects that are there from the start lie
 * at the same distance from the thread pointer in every OS thread. */

#if PY_VERSION_HEX >= 0x030F0000

static ptrdiff_t bound_distance; /* from the thread pointer; 0: not found */

struct search {
    PyThreadState *wanted;
    char *found;
    int count;
};

static bool is_python(const struct dl_phdr_info *info)
{
    uintptr_t address = (uintptr_t)PyEval_SaveThread;

    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t lo = info->dlpi_addr + segment->p_vaddr;
        if (segment->p_type == PT_LOAD && lo <= address && address < lo + segment->p_memsz)
            return true;
    }
    return false;
}

static int search_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct search *search = arg;

    (void)size;
    if (info->dlpi_tls_data == NULL || !is_python(info))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_TLS)
            continue;
        PyThreadState **word = info->dlpi_tls_data;
        for (size_t n = info->dlpi_phdr[i].p_memsz / sizeof *word; n > 0; n--, word++)
            if (*word == search->wanted) {
                search->found = (char *)word;
                search->count++;
            }
    }
    return 1;
}

static int slot_init(void)
{
    PyThreadState *tstate = PyThreadState_Get();
    struct search search = {.wanted = tstate};

    PyEval_SaveThread();
    dl_iterate_phdr(search_object, &search);
    PyEval_RestoreThread(tstate);
    if (search.count != 1) {
        PyErr_SetString(PyExc_RuntimeError, "weft could not find where this build of CPython keeps "
                                            "the thread state of an OS thread");
        return -1;
    }
    bound_distance = search.found - (char *)__builtin_thread_pointer();
    return 0;
}

static inline PyThreadState **slot(void)
{
    return (PyThreadState **)((char *)__builtin_thread_pointer() + bound_distance);
}

static inline PyThreadState *slot_get(void)
{
    return *slot();
}

static inline void slot_set(PyThreadState *tstate)
{
    *slot() = tstate;
}

#else

#if PY_VERSION_HEX >= 0x030C0000
#define TSS_KEY (&_PyRuntime.autoTSSkey)
#else
#define TSS_KEY (&_PyRuntime.gilstate.autoTSSkey)
#endif

static int slot_init(void)
{
    if (PyThread_tss_is_created(TSS_KEY))
        return 0;
    PyErr_SetString(PyExc_RuntimeError,
                    "weft needs an interpreter with the PyGILState API switched on");
    return -1;
}

static inline PyThreadState *slot_get(void)
{
    return PyThread_tss_get(TSS_KEY);
}

static inline void slot_set(PyThreadState *tstate)
{
    PyThread_tss_set(TSS_KEY, tstate);
}

#endif

int wf_tstate_init(void)
{
    if (slot_init() < 0)
        return -1;
#if PY_VERSION_HEX >= 0x030E0000
    protect = (set_stack_protection)dlsym(RTLD_DEFAULT,
                                          "PyUnstable_ThreadState_SetStackProtection");
    if (protect == NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "weft needs PyUnstable_ThreadState_SetStackProtection, "
                        "which this build of CPython does not export");
        return -1;
    }
#endif
    return 0;
}

/* {=== Binding ===} */

PyThreadState *wf_tstate_bound(void)
{
    return slot_get();
}

void wf_tstate_bind(PyThreadState *tstate)
{
    PyThreadState *old = slot_get();
    if (old == tstate)
        return;
    slot_set(tstate);
#if PY_VERSION_HEX >= 0x030C0000
    /* The interpreter believes these flags rather than the slot. */
    if (old != NULL)
        old->_status.bound_gilstate = 0;
    if (tstate != NULL)
        tstate->_status.bound_gilstate = 1;
#endif
}

/* {=== Attention ===} */

void wf_tstate_swap(PyThreadState *from, PyThreadState *to)
{
    PyThreadState *old = PyThreadState_Swap(to);
    wf_assert(old == from, "the running green thread was not attached");
#if PY_VERSION_HEX < 0x030C0000
    slot_set(to);
#endif
#if PY_VERSION_HEX < 0x030D0000
    /* As who gets the GIL does: another thread may have taken the flag down meanwhile (tstate_async.c). */
    if (wf_unlikely(to->async_exc != NULL)) {
        to->interp->ceval.pending.async_exc = 1;
        _Py_atomic_store_relaxed(&to->interp->ceval.eval_breaker, 1);
    }
#endif
}

void wf_tstate_attach(PyThreadState *tstate)
{
    wf_tstate_bind(tstate);
    PyEval_RestoreThread(tstate);
}

void wf_tstate_detach(PyThreadState *tstate)
{
    PyThreadState *old = PyEval_SaveThread();
    wf_assert(old == tstate, "the running green thread was not attached");
}

/* {=== Lives ===} */

void wf_tstate_protect(PyThreadState *tstate, const struct wf_tstate_memory *memory)
{
#if PY_VERSION_HEX >= 0x030E0000
    protect(tstate, memory->stack_lo, (size_t)(memory->stack_hi - memory->stack_lo));
#else
    (void)tstate;
    (void)memory;
#endif
}

/* The first data-stack chunk lies in the home page of the stack.  CPython never pops a chunk without predecessor. */
static void embed_data_stack(PyThreadState *tstate, const struct wf_tstate_memory *memory)
{
    _PyStackChunk *chunk = (_PyStackChunk *)memory->chunk_lo;
    size_t size = (size_t)(memory->chunk_hi - memory->chunk_lo);

    wf_assert(tstate->datastack_chunk == NULL, "a new thread state has a data stack already");
    chunk->previous = NULL;
    chunk->size = size;
    chunk->top = 0;
    tstate->datastack_chunk = chunk;
    /* One slot is left unused, as in CPython, so that the chunk never looks empty. */
    tstate->datastack_top = &chunk->data[1];
    tstate->datastack_limit = (PyObject **)((char *)chunk + size);
}

PyThreadState *wf_tstate_new(const struct wf_tstate_memory *memory)
{
    /* PyThreadState_New binds the first thread state it makes on an OS thread that has none. */
    PyThreadState *bound = wf_tstate_bound();
    PyThreadState *tstate = PyThreadState_New(PyInterpreterState_Main());

    if (tstate == NULL)
        return NULL;
    wf_tstate_bind(bound);
    if (memory->chunk_lo != NULL)
        embed_data_stack(tstate, memory);
    wf_tstate_protect(tstate, memory);
    return tstate;
}

void wf_tstate_delete(PyThreadState *tstate)
{
    /* Its memory is the vessel's. */
    tstate->datastack_chunk = NULL;
    tstate->datastack_top = tstate->datastack_limit = NULL;
    PyThreadState_Clear(tstate);
    PyThreadState_Delete(tstate);
}

PyThreadState *wf_tstate_newest(void)
{
    return PyInterpreterState_ThreadHead(PyInterpreterState_Main());
}

/* Other OS threads may make thread states meanwhile, without the GIL; theirs are not cleared, and not ours. */
static bool is_abandoned(const PyThreadState *tstate)
{
#if PY_VERSION_HEX >= 0x030C0000
    return tstate->_status.cleared;
#else
    return tstate->thread_id == PyThread_get_thread_ident();
#endif
}

void wf_tstate_delete_abandoned(PyThreadState *newest)
{
    PyThreadState *tstate = wf_tstate_newest();

    for (; tstate != NULL && tstate != newest; tstate = PyThreadState_Next(tstate))
        if (is_abandoned(tstate)) {
            PyThreadState_Delete(tstate);
            return;
        }
}

static void reset_budgets(PyThreadState *tstate, size_t stack_size)
{
#if PY_VERSION_HEX < 0x030C0000
    (void)stack_size; /* 3.11 has one budget for Python and C; the guard page catches the rest */
    tstate->recursion_remaining = tstate->recursion_limit;
#else
    tstate->py_recursion_remaining = tstate->py_recursion_limit;
#if PY_VERSION_HEX < 0x030D0000
    const int c_limit = C_RECURSION_LIMIT;
#elif PY_VERSION_HEX < 0x030E0000
    const int c_limit = Py_C_RECURSION_LIMIT;
#endif
#if PY_VERSION_HEX < 0x030E0000
    size_t affordable = stack_size / STACK_PER_C_LEVEL;
    tstate->c_recursion_remaining = affordable < (size_t)c_limit ? (int)affordable : c_limit;
#else
    (void)stack_size; /* the stack's bounds were told */
#endif
#endif
}

void wf_tstate_begin(PyThreadState *tstate, unsigned long ident, size_t stack_size)
{
    static uint64_t next_id = FIRST_ID;

    tstate->id = __atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED);
    tstate->thread_id = ident;
    reset_budgets(tstate, stack_size);
}

void wf_tstate_watch(Py_tracefunc profile, Py_tracefunc trace)
{
    PyThreadState *tstate = PyThreadState_Get();

    /* The one of _seed_enter is Python's own call of it, so it gives way to ours. */
    if (tstate->c_profilefunc != profile)
        PyEval_SetProfile(profile, NULL);
    if (tstate->c_tracefunc == NULL)
        PyEval_SetTrace(trace, NULL);
}

void wf_tstate_unwatch(Py_tracefunc profile, Py_tracefunc trace)
{
    PyThreadState *tstate = PyThreadState_Get();

    if (tstate->c_profilefunc == profile)
        PyEval_SetProfile(NULL, NULL);
    if (tstate->c_tracefunc == trace)
        PyEval_SetTrace(NULL, NULL);
}

void wf_tstate_end(PyThreadState *tstate)
{
    /* PyThreadState_Clear would drop them, but leave the interpreter looking for them (3.11). */
    if (wf_unlikely(tstate->c_profilefunc != NULL || tstate->c_tracefunc != NULL))
        wf_tstate_unwatch(tstate->c_profilefunc, tstate->c_tracefunc);
    PyThreadState_Clear(tstate);
    /* Another thread may get the identity, with another thread state: who looks it up must not find this one. */
    tstate->thread_id = PYTHREAD_INVALID_THREAD_ID;
    tstate->context_ver++;
    tstate->coroutine_origin_tracking_depth = 0;
#if PY_VERSION_HEX >= 0x030C0000
    tstate->_status.cleared = 0;
    tstate->_status.finalizing = 0;
#endif
#if PY_VERSION_HEX < 0x030D0000
    tstate->on_delete = NULL;
    tstate->on_delete_data = NULL;
#else
    /* A thread state's sentinel is dropped by Clear; threading.local makes both anew on demand. */
    wf_check(tstate->threading_local_key == NULL, "thread-local key survived its thread");
#endif
}

/* {=== Looking into threads, for dumps ===} */

#if PY_VERSION_HEX < 0x030D0000
#define CURRENT_FRAME(tstate) ((tstate)->cframe->current_frame)
#define FRAME_CODE(frame) ((PyObject *)(frame)->f_code)
#elif PY_VERSION_HEX < 0x030E0000
#define CURRENT_FRAME(tstate) ((tstate)->current_frame)
#define FRAME_CODE(frame) ((frame)->f_executable)
#else
#define CURRENT_FRAME(tstate) ((tstate)->current_frame)
#endif

void wf_tstate_place(PyObject **code, int *offset)
{
    struct _PyInterpreterFrame *frame = CURRENT_FRAME(PyThreadState_Get());

    if (frame == NULL) {
        Py_CLEAR(*code);
        return;
    }
#if PY_VERSION_HEX < 0x030E0000
    if (*code != FRAME_CODE(frame)) /* the same as last time, as a rule */
        Py_XSETREF(*code, Py_NewRef(FRAME_CODE(frame)));
    *offset = PyCode_Check(*code) ? _PyInterpreterFrame_LASTI(frame) * (int)sizeof(_Py_CODEUNIT) : 0;
#else
    Py_XSETREF(*code, PyUnstable_InterpreterFrame_GetCode(frame));
    *offset = PyUnstable_InterpreterFrame_GetLasti(frame);
#endif
}

PyObject *wf_frame_slot(PyFrameObject *frame, int n)
{
#if PY_VERSION_HEX < 0x030E0000
    return frame->f_frame->localsplus[n];
#else
    (void)frame;
    (void)n;
    return NULL; /* tagged references, and locks without semaphores: nothing to be found this way */
#endif
}

const void *wf_lock_semaphore(PyObject *lock)
{
#if PY_VERSION_HEX < 0x030E0000
    return *(void **)(lock + 1); /* the first member of either */
#else
    (void)lock;
    return NULL;
#endif
}

int wf_context_copy(PyObject **context)
{
    /* CPython makes a thread's context when it is first asked for. */
    *context = PyThreadState_Get()->context == NULL ? NULL : PyContext_CopyCurrent();
    return *context == NULL && PyErr_Occurred() ? -1 : 0;
}

bool wf_tstate_in_destructor(PyThreadState *tstate)
{
#if PY_VERSION_HEX >= 0x030D0000
    return tstate->delete_later != NULL;
#elif PY_VERSION_HEX >= 0x030C0000
    return tstate->trash.delete_nesting > 0;
#else
    return tstate->trash_delete_nesting > 0;
#endif
}

PyFrameObject *wf_tstate_frame(unsigned long ident)
{
    PyThreadState *tstate = PyInterpreterState_ThreadHead(PyInterpreterState_Main());
    PyFrameObject *frame = NULL;

    /* One that waits for its first life may still have the identity of who made it, but no frame. */
    for (; tstate != NULL && frame == NULL; tstate = PyThreadState_Next(tstate))
        if (tstate->thread_id == ident)
            frame = PyThreadState_GetFrame(tstate);
    return frame;
}

PyThreadState *wf_tstate_holder(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyInterpreterState_Main()->ceval.gil->last_holder;
#elif PY_VERSION_HEX >= 0x030C0000
    return (PyThreadState *)_Py_atomic_load_relaxed(&PyInterpreterState_Main()->ceval.gil->last_holder);
#else
    return _PyThreadState_UncheckedGet(); /* the process's; the GIL does not note a swap */
#endif
}

#if PY_VERSION_HEX < 0x030E0000
const void *wf_tstate_innermost(PyThreadState *tstate)
{
    const void *frame = NULL;
#if PY_VERSION_HEX < 0x030D0000
    struct _PyCFrame *cframe;

    if (!wf_peek(&cframe, &tstate->cframe, sizeof cframe) || !wf_peek(&frame, &cframe->current_frame, sizeof frame))
        return NULL;
#else
    if (!wf_peek(&frame, &tstate->current_frame, sizeof frame))
        return NULL;
#endif
    return frame;
}

/* Since 3.12 CPython puts a frame of its own between Python code and the C code that called it. */
static bool is_of_c(const struct _PyInterpreterFrame *frame)
{
#if PY_VERSION_HEX >= 0x030C0000
    return frame->owner == FRAME_OWNED_BY_CSTACK;
#else
    (void)frame;
    return false;
#endif
}

static bool is_code(const PyObject *code)
{
    PyObject head;

    return wf_peek(&head, code, sizeof head) && head.ob_type == &PyCode_Type;
}

bool wf_tstate_read_frame(const void **frame, struct wf_code_place *place)
{
    struct _PyInterpreterFrame copy;

    do {
        if (*frame == NULL || !wf_peek(&copy, *frame, sizeof copy))
            return false;
        *frame = copy.previous;
    } while (is_of_c(&copy));
    if (!is_code(FRAME_CODE(&copy)))
        return false;
    place->code = (PyCodeObject *)FRAME_CODE(&copy);
    place->offset = _PyInterpreterFrame_LASTI(&copy) * (int)sizeof(_Py_CODEUNIT);
    return true;
}
#else
const void *wf_tstate_innermost(PyThreadState *tstate)
{
    (void)tstate;
    return NULL;
}

bool wf_tstate_read_frame(const void **frame, struct wf_code_place *place)
{
    (void)frame;
    (void)place;
    return false;
}
#endif

bool wf_tstate_call_soon(int (*call)(void *))
{
#if PY_VERSION_HEX >= 0x030C0000
    return _PyEval_AddPendingCall(PyInterpreterState_Main(), call, NULL, 0) == 0;
#else
    (void)call;
    return false;
#endif
}

bool wf_tstate_tells_of_async_gens(void)
{
    return PyThreadState_Get()->async_gen_finalizer != NULL;
}

PyObject *wf_take_exception(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL)
        return NULL;
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    Py_DECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}
