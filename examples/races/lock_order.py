"""A race: money is moved to and fro, each way locking first where it comes from; then all wait for ever.

    weft explore examples/races/lock_order.py
"""

import threading


class Account:
    """Money, and the lock without which it must not be touched."""

    def __init__(self, balance: int) -> None:
        self.balance = balance
        self.lock = threading.Lock()

    def withdraw(self, amount: int) -> None:
        self.balance -= amount

    def deposit(self, amount: int) -> None:
        self.balance += amount


def move(source: Account, target: Account, amount: int) -> None:
    with source.lock:
        source.withdraw(amount)
        with target.lock:  # which another may hold, and wait for ours
            target.deposit(amount)


def main() -> None:
    one, other = Account(100), Account(100)
    threads = [
        threading.Thread(target=move, args=(one, other, 10)),
        threading.Thread(target=move, args=(other, one, 20)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
