"""A race: two threads read a number, add to it, and write it back; an update is lost.

    weft explore examples/races/lost_update.py
"""

import threading


class Account:
    """Money, in a form that invites the mistake."""

    def __init__(self) -> None:
        self._balance = 0

    def balance(self) -> int:
        return self._balance

    def set_balance(self, amount: int) -> None:
        self._balance = amount


def deposit(account: Account, amount: int) -> None:
    account.set_balance(account.balance() + amount)  # another may do so in between


def main() -> None:
    account = Account()
    threads = [threading.Thread(target=deposit, args=(account, 10)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if account.balance() != 30:
        raise SystemExit(f"three deposits of 10 make {account.balance()}")


if __name__ == "__main__":
    main()
