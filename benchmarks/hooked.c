/* hooked.c - the price of a hook: the same recv through two addresses, in turns.
 *
 * Made a shared library and called by hooked.py.  A batch is `BATCH` calls that each take one byte of what
 * lies ready; batches of the two functions alternate, and of each the fastest counts: whatever else the
 * machine does only makes a batch slower.
 */
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 1000 };

typedef ssize_t receive(int fd, void *buf, size_t len, int flags);

static double now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static double batch_ns(receive *receive, int reader, int writer)
{
    static char bytes[BATCH];
    double began;

    send(writer, bytes, sizeof bytes, 0);
    began = now_ns();
    for (int i = 0; i < BATCH; i++)
        receive(reader, bytes, 1, 0);
    return (now_ns() - began) / BATCH;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

/* The ns that a call of `hooked` takes more than a call of `plain`. */
double added_ns(receive *plain, receive *hooked, int reader, int writer, int batches)
{
    double best_plain = 1e9, best_hooked = 1e9;

    for (int i = 0; i < batches; i++) {
        best_plain = least(best_plain, batch_ns(plain, reader, writer));
        best_hooked = least(best_hooked, batch_ns(hooked, reader, writer));
    }
    return best_hooked - best_plain;
}
