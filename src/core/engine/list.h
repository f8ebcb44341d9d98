/* list.h - an intrusive, circular, doubly linked list.
 *
 * A node lives inside the thing it links, usually on the stack of the green
 * thread that waits, so linking allocates nothing and unlinking needs no search.
 *
 * Invariant: a node is either on exactly one list or points to itself
 * (wf_list_linked tells which), so removing a node twice is harmless.
 */
#ifndef WF_LIST_H
#define WF_LIST_H

#include "base.h"

struct wf_list {
    struct wf_list *next, *prev;
};

static inline void wf_list_init(struct wf_list *l)
{
    l->next = l->prev = l;
}

static inline bool wf_list_linked(const struct wf_list *node)
{
    return node->next != node;
}

static inline bool wf_list_empty(const struct wf_list *l)
{
    return l->next == l;
}

static inline void wf_list_push_back(struct wf_list *l, struct wf_list *node)
{
    node->prev = l->prev;
    node->next = l;
    l->prev->next = node;
    l->prev = node;
}

static inline void wf_list_remove(struct wf_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    wf_list_init(node);
}

/* The first node, unlinked, or NULL. */
static inline struct wf_list *wf_list_pop_front(struct wf_list *l)
{
    struct wf_list *node = l->next;
    if (node == l)
        return NULL;
    wf_list_remove(node);
    return node;
}

#endif
