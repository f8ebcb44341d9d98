/* emergency.c - see emergency.h. */
#include "emergency.h"

#include "greenthread.h"
#include "sched.h"
#include "tstate.h"

#include "../engine/peek.h"

#include <string.h>

#define INNER 12 /* frames told of a deep stack: the innermost, */
#define OUTER 4  /* and the outermost */
#define DEEPEST 1000000
#define LONGEST 400 /* characters of a string */

/* {=== Words ===} */

void wf_text_flush(struct wf_text *text)
{
    const char *next = text->buffer;

    while (text->len > 0) {
        ssize_t written = write(text->fd, next, text->len);
        if (written <= 0)
            break;
        next += written;
        text->len -= (size_t)written;
    }
    text->len = 0;
}

static void say_byte(struct wf_text *text, char byte)
{
    if (text->len == sizeof text->buffer)
        wf_text_flush(text);
    text->buffer[text->len++] = byte;
}

void wf_say(struct wf_text *text, const char *words)
{
    while (*words != '\0')
        say_byte(text, *words++);
}

static void say_digits(struct wf_text *text, uint64_t number, unsigned base, int least)
{
    char digits[24], *p = digits + sizeof digits - 1;

    *p = '\0';
    do {
        *--p = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0 || digits + sizeof digits - 1 - p < least);
    wf_say(text, p);
}

void wf_say_number(struct wf_text *text, uint64_t number)
{
    say_digits(text, number, 10, 1);
}

static void say_character(struct wf_text *text, Py_UCS4 character)
{
    if (character >= ' ' && character < 127) {
        say_byte(text, (char)character);
        return;
    }
    wf_say(text, character < 0x100 ? "\\x" : character < 0x10000 ? "\\u" : "\\U");
    say_digits(text, character, 16, character < 0x100 ? 2 : character < 0x10000 ? 4 : 8);
}

/* {=== Objects of Python's ===} */

/* False: it is not a string, or no longer. */
static bool say_string(struct wf_text *text, PyObject *string)
{
    PyCompactUnicodeObject copy;
    const char *data = (const char *)string;
    size_t size;

    if (string == NULL || !wf_peek(&copy._base, string, sizeof copy._base)
        || copy._base.ob_base.ob_type != &PyUnicode_Type || !copy._base.state.compact)
        return false;
    data += copy._base.state.ascii ? sizeof(PyASCIIObject) : sizeof(PyCompactUnicodeObject);
    size = copy._base.state.kind;
    for (Py_ssize_t i = 0; i < copy._base.length && i < LONGEST; i++) {
        Py_UCS4 character = 0; /* little-endian: the lower bytes come first */
        if (!wf_peek(&character, data + (size_t)i * size, size < sizeof character ? size : sizeof character))
            return true;
        say_character(text, character);
    }
    return true;
}

static void say_place(struct wf_text *text, const struct wf_code_place *place)
{
    PyObject *file = NULL, *name = NULL;

    wf_peek(&file, &place->code->co_filename, sizeof file);
    wf_peek(&name, &place->code->co_name, sizeof name);
    wf_say(text, "  File \"");
    if (!say_string(text, file))
        wf_say(text, "???");
    wf_say(text, "\", line ");
    wf_say_number(text, (uint64_t)PyCode_Addr2Line(place->code, place->offset));
    wf_say(text, ", in ");
    if (!say_string(text, name))
        wf_say(text, "???");
    wf_say(text, "\n");
}

/* {=== A green thread ===} */

static bool say_name(struct wf_text *text, const struct wf_fiber *fiber)
{
    struct wf_green_known known;

    if (fiber->kind != WF_GREEN || fiber->green == NULL)
        return false;
    known = wf_green_known(fiber->green);
    if (say_string(text, known.name))
        return true;
    wf_say(text, "green-");
    wf_say_number(text, known.number);
    wf_say(text, " (");
    if (!say_string(text, known.function))
        wf_say(text, "?");
    wf_say(text, ")");
    return true;
}

void wf_say_who(struct wf_text *text, const struct wf_fiber *fiber)
{
    if (fiber->kind == WF_ROOT) {
        wf_say(text, "the main green thread of OS thread ");
        wf_say_number(text, (uint64_t)fiber->worker->tid);
        return;
    }
    if (!say_name(text, fiber))
        wf_say(text, "the green thread");
    wf_say(text, " with ident ");
    wf_say_number(text, wf_fiber_ident(fiber));
}

size_t wf_stack_depth(PyThreadState *tstate)
{
    const void *frame = wf_tstate_innermost(tstate);
    struct wf_code_place place;
    size_t depth = 0;

    while (depth < DEEPEST && wf_tstate_read_frame(&frame, &place))
        depth++;
    return depth;
}

void wf_say_stack(struct wf_text *text, PyThreadState *tstate)
{
    const void *frame = wf_tstate_innermost(tstate);
    size_t depth = wf_stack_depth(tstate);
    bool deep = depth > INNER + OUTER + 1;
    struct wf_code_place place;

    for (size_t i = 0; i < depth && wf_tstate_read_frame(&frame, &place); i++)
        if (!deep || i < INNER || i >= depth - OUTER) {
            say_place(text, &place);
        } else if (i == INNER) {
            wf_say(text, "  ... and ");
            wf_say_number(text, depth - INNER - OUTER);
            wf_say(text, " calls in between ...\n");
        }
}
