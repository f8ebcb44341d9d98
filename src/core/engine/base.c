/* base.c - the end of the line: one message, one abort.
 *
 * wf_panic is called with a broken world around it, perhaps from a signal handler
 * on an alternate stack.  So it allocates nothing, locks nothing, and hands the kernel one
 * buffer in one write: the messages of two dying threads do not mix.
 */
#include "base.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Appends what fits of `text`; returns the new end. */
static char *append(char *end, const char *limit, const char *text)
{
    size_t room = (size_t)(limit - end), len = strlen(text);
    if (len > room)
        len = room;
    memcpy(end, text, len);
    return end + len;
}

void wf_panic(const char *where, const char *fact)
{
    char message[256];
    char *end = message, *limit = message + sizeof message - 1; /* the newline always fits */
    end = append(end, limit, "weft: ");
    end = append(end, limit, where);
    end = append(end, limit, ": ");
    end = append(end, limit, fact);
    *end++ = '\n';
    if (write(STDERR_FILENO, message, (size_t)(end - message)) < 0) {
        /* Nowhere left to complain to. */
    }
    abort();
}
