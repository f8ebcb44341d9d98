/* bystander.c - see bystander.h. */
#include "bystander.h"

#include "task_syscall.h"

#include "../engine/base.h"
#include "../engine/list.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_LISTED 256

/* On the stack of who waits. */
struct bystander {
    struct wf_list link;
    pid_t tid;
    sem_t *sem;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct wf_list all = {&all, &all};

/* {=== Waiting ===} */

static void forget(void *arg)
{
    struct bystander *self = arg;

    pthread_mutex_lock(&lock);
    wf_list_remove(&self->link);
    pthread_mutex_unlock(&lock);
}

int wf_bystand(sem_t *sem, int (*wait)(sem_t *))
{
    int before = errno, result;
    struct bystander self = {.sem = sem};

    if (sem_trywait(sem) == 0)
        return 0;
    errno = before;
    self.tid = (pid_t)syscall(SYS_gettid);
    pthread_mutex_lock(&lock);
    wf_list_push_back(&all, &self.link);
    pthread_mutex_unlock(&lock);
    pthread_cleanup_push(forget, &self); /* sem_wait is where threads are cancelled */
    result = wait(sem);
    pthread_cleanup_pop(true);
    return result;
}

/* {=== Looking ===} */

static bool sleeps_at(pid_t tid, const void *address)
{
    char line[WF_TASK_SYSCALL_SIZE], *rest;

    return wf_task_syscall(tid, line) && strtol(line, &rest, 10) == SYS_futex && rest != line
           && (void *)strtoul(rest, NULL, 16) == address;
}

static bool is_certain(const struct bystander *bystander)
{
    int value;

    return sem_getvalue(bystander->sem, &value) == 0 && value == 0 && sleeps_at(bystander->tid, bystander->sem);
}

static struct bystander *bystander_of(struct wf_list *link)
{
    return wf_container_of(link, struct bystander, link);
}

size_t wf_bystanders(void)
{
    size_t count = 0;

    pthread_mutex_lock(&lock);
    for (struct wf_list *link = all.next; link != &all; link = link->next)
        count += is_certain(bystander_of(link));
    pthread_mutex_unlock(&lock);
    return count;
}

PyObject *wf_bystander_list(void)
{
    struct bystander copies[MOST_LISTED];
    size_t count = 0;
    PyObject *list;

    /* To make an object may run the collector, and so anything. */
    pthread_mutex_lock(&lock);
    for (struct wf_list *link = all.next; link != &all && count < MOST_LISTED; link = link->next)
        copies[count++] = *bystander_of(link);
    pthread_mutex_unlock(&lock);
    list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *entry = Py_BuildValue("(iK)", (int)copies[i].tid, (unsigned long long)(uintptr_t)copies[i].sem);
        if (entry == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, entry);
    }
    return list;
}

/* {=== Fork ===} */

void wf_bystander_before_fork(void)
{
    pthread_mutex_lock(&lock);
}

void wf_bystander_after_fork_parent(void)
{
    pthread_mutex_unlock(&lock);
}

void wf_bystander_after_fork_child(void)
{
    pthread_mutex_init(&lock, NULL);
    wf_list_init(&all);
}
