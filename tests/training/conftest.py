"""What all tests with torch share."""

import sys

import pytest


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tiny products are slower on two threads, and much slower beside other tests."""
    torch = sys.modules.get("torch")  # the modules that need it have imported it
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
