import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from khala_studio.engine.waiting import in_helper


@pytest.fixture
def helper():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_all_items_come_in_order_and_none_twice(helper):
    assert [i for i in in_helper(iter(range(5_000)), helper) if i is not None] == list(range(5_000))


def test_items_are_not_held_back_by_a_slow_one(helper):
    release = threading.Event()

    def items():
        yield 1
        yield 2
        assert release.wait(5)
        yield 3

    got = []
    for item in in_helper(items(), helper):
        if item is None and got == [1, 2]:
            release.set()
        elif item is not None:
            got.append(item)
    assert got == [1, 2, 3]


def test_an_error_comes_after_all_items(helper):
    def items():
        yield 1
        raise KeyError("here")

    got = []

    def collect():
        for item in in_helper(items(), helper):
            got.append(item)

    with pytest.raises(KeyError, match="here"):
        collect()
    assert [i for i in got if i is not None] == [1]
