"""The pytest plugin of weft, as far as every run of pytest meets it: its options, and one fixture.

pytest loads the plugins of all packages that are installed, asked for or not.  So this module lies
beside the package and not in it, and imports nothing of weft until it is asked for; what it then
does is in `weft.pytest_plugin`.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weft.testing import VirtualClock

OPTIONS = ("weft", "weft_seed", "weft_timeout")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say which options there are."""
    group = parser.getgroup("weft", "green threads")
    group.addoption(
        "--weft",
        action="store_true",
        help="run each test in a green thread; every threading.Thread is one as well; "
        "green threads left behind by a test fail it",
    )
    group.addoption(
        "--weft-seed",
        metavar="N",
        type=int,
        help="as --weft, and let this number decide who runs when",
    )
    group.addoption(
        "--weft-timeout",
        metavar="SECONDS",
        type=float,
        help="as --weft, and a test that takes longer is cancelled and shows all green threads",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Bring in the rest, if it is asked for."""
    config.addinivalue_line(
        "markers", "virtual_clock: run the test with a virtual clock, as with the fixture"
    )
    config.addinivalue_line(
        "markers", "may_leak_green_threads: with --weft, do not fail the test for what it leaves"
    )
    if any(config.getoption(option) for option in OPTIONS) or config.getoption("weft_seed") == 0:
        from weft import pytest_plugin  # noqa: PLC0415 - see above

        config.pluginmanager.register(pytest_plugin.Plugin(config), "weft-green")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give the tests that are marked so the fixture."""
    if item.get_closest_marker("virtual_clock") is not None and isinstance(item, pytest.Function):
        item.fixturenames.insert(0, "virtual_clock")


@pytest.fixture
def virtual_clock() -> "Iterator[VirtualClock]":
    """A virtual clock for the test: `weft.testing.virtual_clock` says what that is."""
    from weft import testing  # noqa: PLC0415 - see above

    with testing.virtual_clock() as clock:
        yield clock
