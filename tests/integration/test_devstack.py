"""The fixture itself: what other tests rely on when they kill, pause and restart a server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from devstack import NAMES, Stack, StackError, State
from tests.waiting import PATIENCE

pytestmark = pytest.mark.servers

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("postgres", "redis")  # start within two seconds; enough where the product does not matter


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack("devstack-test")
    stack.reset()
    try:
        stack.up()
        yield stack
    finally:
        stack.reset()
    assert processes_of(stack) == []


def devstack(*arguments: str, name: str = "devstack-test") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "devstack", *arguments, "--name", name]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


def processes_of(stack: Stack) -> list[psutil.Process]:
    """Every process that works in one of the stack's folders, whatever its name."""
    found = []
    for process in psutil.process_iter():
        try:
            cwd = Path(process.cwd())
        except (psutil.Error, OSError):
            continue
        if any(cwd.is_relative_to(server.work) for server in stack.servers.values()):
            found.append(process)
    return found


def eventually(claim: Any, *, within: float = PATIENCE) -> None:
    """Wait until `claim()` holds, `within` seconds."""
    deadline = time.monotonic() + within
    while not claim():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def http(url: str, method: str = "GET", body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def write(server: str, url: str) -> None:
    match server:
        case "kafka":
            admin = AdminClient({"bootstrap.servers": url})
            admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(PATIENCE)
            producer = Producer({"bootstrap.servers": url, "acks": "all"})
            producer.produce("kept", b"survives")
            assert producer.flush(10) == 0
        case "postgres":
            with psycopg.connect(url) as connection:
                connection.execute("CREATE TABLE kept AS SELECT 'survives' AS value")
        case "redis":
            redis.Redis.from_url(url).set("kept", "survives")
        case "opensearch":
            http(f"{url}/kept", "PUT", {"settings": {"number_of_replicas": 0}})
            http(f"{url}/kept/_doc/1", "PUT", {"value": "survives"})


def read(server: str, url: str) -> str:
    match server:
        case "kafka":
            consumer = Consumer({"bootstrap.servers": url, "group.id": "devstack-test", "log_level": 0})
            consumer.assign([TopicPartition("kept", 0, 0)])
            message = consumer.poll(15)
            consumer.close()
            assert message is not None
            assert message.error() is None
            return str(message.value(), "utf-8")
        case "postgres":
            with psycopg.connect(url) as connection:
                return str(connection.execute("SELECT value FROM kept").fetchall()[0][0])
        case "redis":
            return str(redis.Redis.from_url(url, decode_responses=True).get("kept"))
        case "opensearch":
            http(f"{url}/_cluster/health/kept?wait_for_status=yellow")
            return str(http(f"{url}/kept/_doc/1")["_source"]["value"])
    raise AssertionError(server)


@pytest.mark.parametrize("server", NAMES)
def test_data_and_address_survive_a_kill_and_a_restart(stack: Stack, server: str) -> None:
    url = stack.servers[server].url
    write(server, url)

    stack.kill(server)
    assert stack.servers[server].state is State.DEAD
    stack.restart(server)

    assert stack.servers[server].url == url
    assert read(server, url) == "survives"


def test_up_again_keeps_what_runs(stack: Stack) -> None:
    before = [row.pid for row in stack.status()]
    stack.up()
    assert [row.pid for row in stack.status()] == before


def test_a_paused_server_keeps_its_port_and_says_nothing_until_it_is_resumed(stack: Stack) -> None:
    for server in NAMES:
        stack.pause(server)
        assert stack.servers[server].state is State.PAUSED

    client = redis.Redis.from_url(stack.env()["LOGSYNC_REDIS"], socket_timeout=0.2, retry=None)
    with pytest.raises(redis.TimeoutError):
        client.ping()
    with socket.create_connection(("127.0.0.1", stack.servers["kafka"].port), timeout=1):
        pass  # the kernel still accepts
    postgres = stack.servers["postgres"].process
    assert postgres is not None
    assert {child.status() for child in postgres.children(recursive=True)} == {psutil.STATUS_STOPPED}

    for server in NAMES:
        stack.resume(server)
        eventually(lambda server=server: answers(stack, server))
        assert stack.servers[server].state is State.RUNNING


def answers(stack: Stack, server: str) -> bool:
    try:
        stack.servers[server].check()
    except Exception:  # noqa: BLE001
        return False
    return True


def test_the_settings_that_tests_rely_on_are_in_force(stack: Stack) -> None:
    env = stack.env()
    client = redis.Redis.from_url(env["LOGSYNC_REDIS"], decode_responses=True)
    assert client.config_get("append*")["appendonly"] == "yes"
    with psycopg.connect(env["LOGSYNC_POSTGRES"]) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
    with pytest.raises(urllib.error.HTTPError):
        http(f"{env['LOGSYNC_OPENSEARCH']}/never-created/_doc/1", "PUT", {"a": 1})
    metadata = AdminClient({"bootstrap.servers": env["LOGSYNC_KAFKA"]}).list_topics("never-created", timeout=5)
    assert metadata.topics["never-created"].error is not None


def test_opensearch_takes_a_snapshot_below_the_stack(stack: Stack) -> None:
    url = stack.env()["LOGSYNC_OPENSEARCH"]
    location = str(stack.servers["opensearch"].data / "snapshots")
    assert http(f"{url}/_snapshot/here", "PUT", {"type": "fs", "settings": {"location": location}})["acknowledged"]


def test_status_and_env_as_json_name_every_server(stack: Stack) -> None:
    status = devstack("status", "--json")
    assert status.returncode == 0, status.stderr
    rows = {row["server"]: row for row in json.loads(status.stdout)}
    assert set(rows) == set(NAMES)
    assert {row["state"] for row in rows.values()} == {"running"}
    assert all(row["resident"] > 1_000_000 for row in rows.values())

    assert json.loads(devstack("env", "--json").stdout) == stack.env()
    assert f"export LOGSYNC_KAFKA='{stack.env()['LOGSYNC_KAFKA']}'" in devstack("env").stdout


def test_an_unknown_stack_tells_how_to_start_it() -> None:
    done = devstack("env", name="devstack-test-none")
    assert done.returncode == 1
    assert "python -m devstack up --name devstack-test-none" in done.stderr


@pytest.fixture
def second() -> Iterator[Stack]:
    stack = Stack("devstack-test-2")
    stack.reset()
    try:
        yield stack
    finally:
        stack.reset()


def test_two_stacks_live_side_by_side(stack: Stack, second: Stack) -> None:
    second.up(only=QUICK)
    assert not set(second.env().values()) & set(stack.env().values())
    redis.Redis.from_url(second.env()["LOGSYNC_REDIS"]).set("whose", "second")
    assert redis.Redis.from_url(stack.env()["LOGSYNC_REDIS"]).get("whose") is None

    second.down()
    assert processes_of(second) == []
    assert answers(stack, "redis")


def test_down_ends_what_a_killed_starter_left_behind(second: Stack) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-m", "devstack", "up", "--name", second.name, "--only", "kafka,postgres,redis"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    eventually(lambda: any(row.server == "postgres" and row.pid for row in second.status()))
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    assert processes_of(second) != []

    assert devstack("down", name=second.name).returncode == 0
    assert processes_of(second) == []


def test_down_ends_a_server_whose_id_was_never_written(second: Stack) -> None:
    second.up(only=["postgres"])
    (second.servers["postgres"].directory / "pid.json").unlink()
    second.down()
    assert processes_of(second) == []


def test_a_recycled_process_id_is_left_alone(second: Stack) -> None:
    second.up(only=["redis"])
    time.sleep(0.1)  # start times are told in hundredths of a second, and two of one moment cannot be told apart
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        second.kill("redis")
        pid_file = second.servers["redis"].directory / "pid.json"
        pid_file.write_text(json.dumps({**json.loads(pid_file.read_text()), "pid": bystander.pid}))
        second.down()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_failed_start_names_the_server_its_log_and_the_reason(second: Stack) -> None:
    second.up(only=["redis"])
    second.stop("redis")
    manifest = next(second.servers["redis"].data.rglob("*.manifest"))
    manifest.write_text("this is no manifest\n")
    with pytest.raises(StackError, match=r"(?s)redis ended while starting.*server\.log.*manifest"):
        second.start("redis")
