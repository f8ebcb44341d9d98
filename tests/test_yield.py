"""Letting time pass: the arguments.  What yields do to the order is in test_sched.py."""

import math
import time

import pytest

import weft


@pytest.mark.parametrize("seconds", [-1, -0.001, -math.inf])
def test_negative_sleep(seconds):
    with pytest.raises(ValueError, match="non-negative"):
        weft.sleep(seconds)


def test_sleep_of_nan():
    with pytest.raises(ValueError, match="NaN"):
        weft.sleep(math.nan)


@pytest.mark.parametrize("arguments", [(), ("1",), (None,), (1, 2)])
def test_wrong_sleep(arguments):
    with pytest.raises(TypeError):
        weft.sleep(*arguments)


def test_sleep_is_as_long_as_it_says():
    start = time.monotonic()
    weft.sleep(0.02)
    assert 0.02 <= time.monotonic() - start < 1


def test_yield_now_takes_no_arguments():
    with pytest.raises(TypeError):
        weft.yield_now(1)
