"""A race: a shop looks whether there is one left, and sells it; the last one is sold twice.

    weft explore examples/races/check_then_act.py
"""

import threading


class Shop:
    """Looks first, and believes what it saw."""

    def __init__(self, stock: int) -> None:
        self._stock = stock

    def has_one(self) -> bool:
        return self._stock > 0

    def sell(self) -> None:
        if self.has_one():
            self._take()  # the one that was seen may be gone

    def _take(self) -> None:
        self._stock -= 1
        if self._stock < 0:
            raise RuntimeError("sold what was not there")


def main() -> None:
    shop = Shop(stock=1)
    customers = [threading.Thread(target=shop.sell) for _ in range(2)]
    for customer in customers:
        customer.start()
    for customer in customers:
        customer.join()


if __name__ == "__main__":
    main()
