"""What channel.py and queue_one.py share: peers that have one thing for both, with room or without.

ns of CPU for a value that passes from one to the other.
"""

from __future__ import annotations

from time import process_time_ns


def through_trio(room: int, count: int) -> float:
    from trio import open_memory_channel, open_nursery, run

    async def main() -> float:
        sender, receiver = open_memory_channel[int](room)

        async def receive() -> None:
            for _ in range(count):
                await receiver.receive()

        began = process_time_ns()
        async with open_nursery() as nursery:
            nursery.start_soon(receive)
            for number in range(count):
                await sender.send(number)
        return (process_time_ns() - began) / count

    return run(main)


def through_runloom(room: int, count: int) -> float:
    from runloom import Chan, fiber, run

    channel = Chan(room)

    def receive() -> None:
        recv = channel.recv
        for _ in range(count):
            recv()

    def main() -> None:
        send = channel.send
        fiber(receive)
        for number in range(count):
            send(number)

    began = process_time_ns()
    run(1, main)
    return (process_time_ns() - began) / count
