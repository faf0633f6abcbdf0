"""What gets installed: one import name, one extra per store, and nothing that imports more than it must."""

from __future__ import annotations

import email
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
STORES = {"postgres": "psycopg", "redis": "redis", "opensearch": "opensearchpy"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built by the backend that pyproject.toml names, without a download."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(wheel.read(name))


def test_the_wheel_holds_only_logsync(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"logsync"}
    assert len(tops) == 2


def test_the_wheel_has_every_file_of_the_library_also_those_that_are_not_python(wheel: zipfile.ZipFile) -> None:
    listed = subprocess.run(["git", "ls-files", "logsync"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = {name for name in listed.stdout.split() if (ROOT / name).exists()}
    assert files
    assert files <= set(wheel.namelist())
    assert {Path(name).suffix for name in files} >= {".py", ".sql", ".lua", ".typed"}


def test_each_store_is_an_extra_and_the_core_needs_none_of_their_clients(wheel: zipfile.ZipFile) -> None:
    found = metadata(wheel)
    assert set(found.get_all("Provides-Extra", [])) == {*STORES, "all"}
    required = found.get_all("Requires-Dist", [])
    core = [line for line in required if "extra ==" not in line]
    for client in ("psycopg", "redis", "opensearch"):
        assert not any(line.startswith(client) for line in core)
        assert any(line.startswith(client) for line in required)


def test_the_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "logsync = logsync.cli:main" in wheel.read(name).decode()


# Run in a process of its own. Sockets, threads and processes are what "opens" means; sys.addaudithook sees each of
# them, whichever module asks for it. With `blocked`, importing a store's client fails as if it were not installed.
PROBE = """
import sys, threading
opened = []
blocked = set({blocked!r})

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
watched = ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.fork", "os.exec")
sys.addaudithook(lambda event, _: opened.append(event) if event in watched else None)
for module in {modules!r}:
    __import__(module)
{more}
assert not opened, opened
assert threading.active_count() == 1, threading.enumerate()
tasks = __import__("os").listdir("/proc/self/task") if sys.platform == "linux" else [0]
assert len(tasks) == 1, f"{{len(tasks)}} threads, some of a native library"
assert not blocked & {{name.partition(".")[0] for name in sys.modules}}
"""


def probe(modules: list[str], *, blocked: list[str] = [], more: str = "") -> None:  # noqa: B006 - never changed
    script = PROBE.format(modules=modules, blocked=blocked, more=more)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_logsync_opens_nothing_and_starts_no_thread() -> None:
    probe(["logsync", "logsync.worker", "logsync.run", "logsync.cli", "logsync.testing"])


def test_importing_a_store_needs_no_client_library() -> None:
    modules = [f"logsync.stores.{name}" for name in STORES]
    probe(["logsync", *modules, "logsync.testing", "logsync.cli"], blocked=list(STORES.values()))


def test_declaring_a_log_and_its_sinks_opens_nothing_and_needs_no_client_library() -> None:
    probe(
        ["tests.integration.worker.sinks"],
        blocked=list(STORES.values()),
        more="import tests.integration.worker.sinks as s; assert s.db and s.cache and s.search",
    )


@pytest.mark.parametrize("store", STORES)
def test_opening_a_store_whose_client_is_missing_names_the_extra(store: str) -> None:
    made = {"postgres": "Postgres()", "redis": "Redis(prefix='p:')", "opensearch": "OpenSearch(indices={'a': {}})"}
    probe(
        [f"logsync.stores.{store}"],
        blocked=[STORES[store]],
        more=f"""
from logsync.errors import ConfigError
from logsync.settings import Settings
from logsync.stores.{store} import *
try:
    {made[store]}.open("s", Settings(_env_file=None))
except ConfigError as error:
    assert "pip install 'logsync[{store}]'" in str(error), str(error)
else:
    raise AssertionError("it opened")
""",
    )
