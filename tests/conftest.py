"""What the tests of several files share."""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from karma.recipe import load
from karma.store import Store
from tests.filled import SMOKE, fill
from tests.small import ADDRESSES, karma, settings

if TYPE_CHECKING:
    from tests.serving import Server

# Workers and servers that tests start must not wait for each other's threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def no_address_of_mlflow_is_left() -> Iterator[None]:
    """MLflow puts the addresses that one test gave it into the environment, where the commands of
    the next tests would take them for the user's."""
    yield
    for name in ADDRESSES:
        os.environ.pop(name, None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty workspace."""
    made = Store(tmp_path / "workspace")
    made.create()
    return made


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which all of the smoke recipe is built, with small artefacts in place of what
    its stages make; tests that change it take a copy."""
    store = Store(tmp_path_factory.mktemp("filled") / "workspace")
    store.create()
    fill(store, "smoke", load(SMOKE, []))
    return store.root


@pytest.fixture
def filled(built: Path, tmp_path: Path) -> Store:
    """A copy of that workspace."""
    shutil.copytree(built, tmp_path / "workspace")
    return Store(tmp_path / "workspace")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of small real inputs beside the checkout; tests that need it skip without it."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder of real inputs is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the small smoke recipe ran to its end; it takes a minute or two."""
    root = tmp_path_factory.mktemp("smoke") / "workspace"
    ran = karma("run", str(SMOKE), *settings(), workspace=root)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "report.html" in ran.stdout
    return root


@pytest.fixture
def copy(workspace: Path, tmp_path: Path) -> Path:
    """A copy of that workspace, for a test that changes it."""
    shutil.copytree(workspace, tmp_path / "workspace")
    return tmp_path / "workspace"


@pytest.fixture(scope="session")
def server() -> Iterator["Server"]:
    """An S3 server, and the environment that a client needs."""
    from tests.s3 import BUCKET, s3

    with s3().serving() as serving, pytest.MonkeyPatch.context() as patch:
        for name, value in serving.environment.items():
            patch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem().mkdir(BUCKET)
        yield serving


@pytest.fixture(params=["s3", "file"])
def url(request, tmp_path) -> str:
    """A store that machines share, on S3 and in a folder."""
    if request.param == "file":
        return f"file://{tmp_path}/shared"
    request.getfixturevalue("server")
    from tests.s3 import BUCKET

    return f"s3://{BUCKET}/{uuid.uuid4().hex}"
