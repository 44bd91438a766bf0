"""Studies of result files made by hand: reporting knows nothing else."""

import pytest
from comparisons import make_study
from result_files import make_result  # noqa: F401


@pytest.fixture(scope="session")
def small_study(tmp_path_factory):
    """A comparison: two methods, two seeds, three lengths, nonoverlapping and sliding."""
    root = tmp_path_factory.mktemp("small-study")
    return make_study(root, methods=("alibi", "t5"), lengths=(128, 256, 512))


@pytest.fixture(scope="session")
def whole_study(tmp_path_factory):
    """A comparison: five methods, two seeds, five lengths, nonoverlapping and sliding."""
    return make_study(tmp_path_factory.mktemp("whole-study"))
