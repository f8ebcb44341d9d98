"""multiprocessing with spawn: a process per job, and queues whose semaphores both share."""

import multiprocessing

from squares import answer

NAME = "multiprocessing queues"
JOBS = 6
THREADS_GREEN = True  # a queue has a thread that feeds it
QUICK = 4
SECONDS = 1
SPEEDUP = 1.5  # new interpreters take as long as the rest, on as many processors as there are

context = multiprocessing.get_context("spawn")


def job(i: int) -> None:
    questions, answers = context.Queue(), context.Queue()
    process = context.Process(target=answer, args=(questions, answers))
    process.start()
    for number in range(i, i + 4):
        questions.put(number)
        assert answers.get(timeout=30) == number * number
    questions.put(None)
    process.join(30)
    assert process.exitcode == 0
