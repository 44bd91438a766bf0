"""One thread for tests of the model: its tensors are small, and threads that wait for each other cost more."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def one_thread_here(one_thread):
    pass
