"""What the tests of several files share."""

import os
from pathlib import Path

import pytest

from karma.store import Store

# Workers and servers that tests start must not wait for each other's threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty workspace."""
    made = Store(tmp_path / "workspace")
    made.create()
    return made


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of small real inputs beside the checkout; tests that need it skip without it."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder of real inputs is not beside this checkout")
    return folder
