"""concurrent.futures: a pool of threads in every thread."""

import time
from concurrent.futures import ThreadPoolExecutor, as_completed

NAME = "ThreadPoolExecutor in each"
THREADS_GREEN = True


def square(number: int) -> int:
    time.sleep(0.1)
    return number * number


def job(i: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(square, i + number) for number in range(8)]
        found = {future.result() for future in as_completed(futures)}
    assert found == {(i + number) ** 2 for number in range(8)}
