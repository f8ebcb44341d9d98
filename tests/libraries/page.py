"""What our web servers answer, so that clients can check it to the byte."""

LINES = 300  # about 6 KB: more than one read, less than what stops being about waiting


def page(path: str) -> bytes:
    """A text that only this path has, and in which no piece can be missing unnoticed."""
    return "".join(f"line {number} of {path}\n" for number in range(LINES)).encode()


def check_page(path: str, answer: bytes) -> None:
    assert answer == page(path), f"{len(answer)} bytes that are not those of {path}"
