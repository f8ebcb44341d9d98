"""Two green threads that count and take turns."""

from weft.models.green import Runtime


def main() -> None:
    runtime = Runtime()

    def count(number: int, limit: int) -> None:
        print(f"THREAD {number} STARTING")
        for counter in range(limit):
            print(f"thread: {number} counter: {counter}")
            runtime.yield_thread()
        print(f"THREAD {number} FINISHED")

    runtime.spawn(lambda: count(1, 10))
    runtime.spawn(lambda: count(2, 15))
    runtime.run()


if __name__ == "__main__":
    main()
