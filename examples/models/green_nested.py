"""The tasks of threads.py on green threads that know no time yet: they yield instead."""

from weft.models.green import Runtime


def main() -> None:
    runtime = Runtime(guard=lambda number: print(f"THREAD {number} FINISHED."))

    def first() -> None:
        print("I haven't implemented a timer in this example.")
        runtime.yield_thread()
        print("Finally, notice how the tasks are executed concurrently.")

    def second() -> None:
        print("But we can still nest tasks...")
        runtime.spawn(lambda: print("...like this!"))

    runtime.spawn(first)
    runtime.spawn(second)
    runtime.run()


if __name__ == "__main__":
    main()
