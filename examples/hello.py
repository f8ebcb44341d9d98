"""The first program: a thousand people are greeted in one second, by one OS thread."""

import time

import weft


def greet(name: str) -> str:
    """Take one second over it, and block as any function would."""
    time.sleep(1)
    return f"hello, {name}"


greeters = [weft.spawn(greet, f"number {i}") for i in range(1000)]
print(
    len([greeter.result() for greeter in greeters]), "greetings, the last:", greeters[-1].result()
)
