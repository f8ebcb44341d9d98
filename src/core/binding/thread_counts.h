/* thread_counts.h - how many OS threads of some sort there are, were, and were at once. */
#ifndef WF_THREAD_COUNTS_H
#define WF_THREAD_COUNTS_H

#include <stddef.h>

struct wf_thread_counts {
    size_t started, alive, peak_alive;
};

#endif
