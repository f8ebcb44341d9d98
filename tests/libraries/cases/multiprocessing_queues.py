"""multiprocessing with spawn: a process per job, and queues whose semaphores both share."""

import multiprocessing
import time

NAME = "multiprocessing queues"
JOBS = 6
THREADS_GREEN = True  # a queue has a thread that feeds it
QUICK = 4
SPEEDUP = 1.2  # most of the time is that of new interpreters, on as many processors as there are

context = multiprocessing.get_context("spawn")


def answer(questions, answers) -> None:
    for number in iter(questions.get, None):
        time.sleep(0.1)
        answers.put(number * number)


def job(i: int) -> None:
    questions, answers = context.Queue(), context.Queue()
    process = context.Process(target=answer, args=(questions, answers))
    process.start()
    for number in (i, i + 1):
        questions.put(number)
        assert answers.get(timeout=30) == number * number
    questions.put(None)
    process.join(30)
    assert process.exitcode == 0
