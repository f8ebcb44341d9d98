/* test_list.c - a queue, with removal from anywhere and of anything. */
#include "check.h"
#include "list.h"

struct item {
    int value;
    struct wf_list link;
};

static int pop_value(struct wf_list *list)
{
    return wf_container_of(wf_list_pop_front(list), struct item, link)->value;
}

static void first_in_first_out(void)
{
    struct wf_list list;
    struct item items[3] = { { .value = 1 }, { .value = 2 }, { .value = 3 } };
    wf_list_init(&list);
    for (int i = 0; i < 3; i++)
        wf_list_push_back(&list, &items[i].link);
    for (int i = 0; i < 3; i++)
        CHECK(pop_value(&list) == i + 1);
    CHECK(wf_list_empty(&list));
}

static void popping_an_empty_list_gives_null(void)
{
    struct wf_list list;
    wf_list_init(&list);
    CHECK(wf_list_empty(&list));
    CHECK(wf_list_pop_front(&list) == NULL);
}

static void a_node_leaves_from_anywhere(void)
{
    for (int gone = 0; gone < 3; gone++) {
        struct wf_list list;
        struct item items[3] = { { .value = 0 }, { .value = 1 }, { .value = 2 } };
        wf_list_init(&list);
        for (int i = 0; i < 3; i++)
            wf_list_push_back(&list, &items[i].link);
        wf_list_remove(&items[gone].link);
        for (int i = 0; i < 3; i++)
            CHECK(i == gone || pop_value(&list) == i);
        CHECK(wf_list_empty(&list));
    }
}

static void removing_twice_is_harmless(void)
{
    struct wf_list list;
    struct item item = { .value = 7 };
    wf_list_init(&list);
    wf_list_init(&item.link);
    CHECK(!wf_list_linked(&item.link));
    wf_list_push_back(&list, &item.link);
    CHECK(wf_list_linked(&item.link));
    wf_list_remove(&item.link);
    wf_list_remove(&item.link);
    CHECK(!wf_list_linked(&item.link));
    wf_list_push_back(&list, &item.link);
    CHECK(pop_value(&list) == 7);
    CHECK(!wf_list_linked(&item.link));
}

int main(void)
{
    RUN(first_in_first_out);
    RUN(popping_an_empty_list_gives_null);
    RUN(a_node_leaves_from_anywhere);
    RUN(removing_twice_is_harmless);
}
