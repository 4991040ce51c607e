"""Twin work on a real Dask cluster: workers that die and hang, schedulers that go away."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from dask_cluster import DaskCluster, running
from kfarm_operator.runner import VERDICTS, TwinFailed, TwinRunner
from kfarm_twin.validate import validate
from kfarm_twin.warm import warm_request
from kfarm_twin.work.backend import Entry
from kfarm_twin.work.daskclient import DaskBackend
from kfarm_twin.work.dasklink import INSTALL, Patience, check_address
from kfarm_twin.work.forkclient import ServerCommand
from kfarm_twin.work.forked import ForkBackend
from processes import alive, until

ENTRIES = Path(__file__).parents[1] / "operator"
BEHAVE = Entry("runner_entries:behave", "")
PATIENCE = Patience(
    connect=4.0, probe=0.2, silence=6.0, workers=1.5, queue=60.0, grace=1.0, pause=0.1
)
MIB = 1 << 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A scheduler and two workers that every test leaves alive."""
    with running(tmp_path_factory.mktemp("dask"), (ENTRIES,)) as found:
        yield found


@pytest.fixture
async def backend(cluster: DaskCluster) -> AsyncIterator[DaskBackend]:
    found = DaskBackend(cluster.address, BEHAVE)
    yield found
    await found.close()


async def ask(
    backend: DaskBackend | ForkBackend, do: str, *, deadline_s: float = 60, **wish: Any
) -> bytes:
    body = json.dumps({"do": do, **wish}).encode()
    return await backend.exchange(body, deadline_s=deadline_s, memory_bytes=256 * MIB)


def pid_in(path: Path) -> int:
    return int(path.read_text() or 0) if path.exists() else 0


async def naps(backend: DaskBackend | ForkBackend, folder: Path, count: int) -> list[bytes]:
    folder.mkdir(exist_ok=True)
    wishes = ({"name": f"{i}", "seconds": 0.25, "folder": str(folder)} for i in range(count))
    return await asyncio.gather(*(ask(backend, "nap", **wish) for wish in wishes))


@pytest.fixture
async def forked() -> AsyncIterator[ForkBackend]:
    command = ServerCommand(BEHAVE.entry, "", {"PYTHONPATH": str(ENTRIES)})
    found = ForkBackend(2, command)
    yield found
    await found.close()


async def test_replies_are_those_of_the_fork_server(
    backend: DaskBackend, forked: ForkBackend
) -> None:
    """The same bytes, errors of the run included; failures have the same reasons."""
    for do, wish in (("echo", {"text": "한국어"}), ("fail", {}), ("refuse", {})):
        here, there = await ask(forked, do, **wish), await ask(backend, do, **wish)
        assert here == there
    for do, how in (("abort", "signal (Aborted)"), ("hog", "more memory")):
        reasons = []
        for place in (forked, backend):
            with pytest.raises(TwinFailed) as failed:
                raise TwinFailed("Crashed", (await ask(place, do)).decode())
            reasons.append(how in failed.value.message)
        assert reasons == [True, True]


async def test_the_operator_gets_the_same_verdict(cluster: DaskCluster) -> None:
    """As this process comes to; bad input is told apart."""
    runner = TwinRunner(backend=DaskBackend(cluster.address, VERDICTS))
    request = warm_request()
    there = await runner.run(request, deadline_s=120, memory_bytes=2048 * MIB)
    assert there == validate(request)
    wrong = request.model_copy(update={"profiles": []})
    with pytest.raises(TwinFailed) as failed:
        await runner.run(wrong, deadline_s=120, memory_bytes=2048 * MIB)
    assert failed.value.reason == "BadInput"
    await runner.close()


async def test_a_hang_meets_its_deadline(backend: DaskBackend, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with pytest.raises(TwinFailed) as failed:
        await ask(backend, "hang", deadline_s=0.5, pids=str(path))
    assert failed.value.reason == "DeadlineExceeded"
    await until(lambda: not alive(pid_in(path)))


async def test_cancelling_ends_the_run_on_its_worker(backend: DaskBackend, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    run = asyncio.create_task(ask(backend, "hang", pids=str(path)))
    await until(lambda: pid_in(path) > 0)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert run.cancelled()
    await until(lambda: not alive(pid_in(path)))
    assert b"after" in await ask(backend, "echo", text="after")


async def test_closing_ends_runs(cluster: DaskCluster, tmp_path: Path) -> None:
    backend, path = DaskBackend(cluster.address, BEHAVE), tmp_path / "pid"
    run = asyncio.create_task(ask(backend, "hang", pids=str(path)))
    await until(lambda: pid_in(path) > 0)
    await backend.close()
    with pytest.raises(TwinFailed, match="the runner is closed"):
        await run
    await until(lambda: not alive(pid_in(path)))
    with pytest.raises(TwinFailed, match="the runner is closed"):
        await ask(backend, "echo", text="x")


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_workers_and_schedulers_that_hang_and_die(tmp_path: Path) -> None:
    """What can be done again is, and what cannot says why."""
    with running(tmp_path, (ENTRIES,)) as cluster:
        backend = DaskBackend(cluster.address, BEHAVE, 8, PATIENCE)
        await redone_elsewhere(cluster, backend, tmp_path)
        await nothing_lost(cluster, backend, tmp_path)
        await no_worker_left(cluster, backend, tmp_path)
        await scheduler_lost(cluster, backend)
        await backend.close()


async def redone_elsewhere(cluster: DaskCluster, backend: DaskBackend, folder: Path) -> None:
    """A worker that is stopped says nothing: its run goes to the other one."""
    path = folder / "stalled"
    run = asyncio.create_task(ask(backend, "stall", deadline_s=1.0, pids=str(path)))
    await until(lambda: pid_in(path) > 0)
    worker = parent(parent(pid_in(path)))
    assert worker in [one.pid for one in cluster.workers]
    os.kill(worker, signal.SIGSTOP)
    assert b"the second time" in await run
    os.kill(worker, signal.SIGCONT)


async def nothing_lost(cluster: DaskCluster, backend: DaskBackend, folder: Path) -> None:
    """A worker is killed while it works: every run has its one reply."""
    marks = folder / "marks"
    runs = asyncio.create_task(naps(backend, marks, 12))
    await until(lambda: marks.exists() and len(list(marks.iterdir())) >= 3)
    cluster.kill(cluster.workers[0])
    replies = await runs
    assert [f'"{i} slept"'.encode() in reply for i, reply in enumerate(replies)] == [True] * 12


async def no_worker_left(cluster: DaskCluster, backend: DaskBackend, folder: Path) -> None:
    """The second is killed as well; its runs die with it."""
    path = folder / "pid"
    run = asyncio.create_task(ask(backend, "hang", pids=str(path)))
    await until(lambda: pid_in(path) > 0)
    cluster.kill(cluster.workers[1])
    await until(lambda: not alive(pid_in(path)))
    with pytest.raises(TwinFailed, match="has had no worker") as failed:
        await run
    assert failed.value.reason == "WorkerLost"
    assert "dask worker" in failed.value.message


async def scheduler_lost(cluster: DaskCluster, backend: DaskBackend) -> None:
    """One that hangs is given up; one that dies may be started again at the same address."""
    assert cluster.scheduler is not None
    port = cluster.port
    run = asyncio.create_task(ask(backend, "echo", text="late"))
    await asyncio.sleep(0)
    os.kill(cluster.scheduler.pid, signal.SIGSTOP)
    with pytest.raises(TwinFailed) as failed:
        await run
    assert failed.value.reason == "SchedulerLost"
    cluster.kill(cluster.scheduler)
    with pytest.raises(TwinFailed) as failed:
        await ask(backend, "echo", text="none")
    assert failed.value.reason == "SchedulerLost"
    assert "dask scheduler" in failed.value.message
    cluster.start_scheduler(port)
    cluster.start_worker(wait=False)
    cluster.wait_for_workers(3)
    assert b"again" in await ask(backend, "echo", text="again")


async def test_another_kfarm_is_refused(tmp_path: Path) -> None:
    """Workers whose sources differ, or that have no such kfarm at all, do nothing."""
    sources = Path(__file__).parents[3]
    changed, old = tmp_path / "changed", tmp_path / "old"
    for folder in (changed, old):
        for part in ("twin/src/kfarm_twin", "crds/src/kfarm_api"):
            shutil.copytree(sources / part, folder / Path(part).name)
    with (changed / "kfarm_twin" / "figures.py").open("a") as file:
        file.write("# other\n")
    shutil.rmtree(old / "kfarm_twin" / "work")
    with running(tmp_path, (ENTRIES,), workers=0) as cluster:
        for folder, words in ((changed, "sources"), (old, "has no kfarm like this one")):
            worker = cluster.start_worker((folder, ENTRIES), wait=False)
            cluster.wait_for_workers(len(cluster.workers))
            backend = DaskBackend(cluster.address, BEHAVE)
            with pytest.raises(TwinFailed) as failed:
                await ask(backend, "echo", text="x")
            await backend.close()
            cluster.kill(worker)
            assert failed.value.reason == "WorkerMismatch"
            assert words in failed.value.message
            assert "on all workers" in failed.value.message


async def test_nobody_answers() -> None:
    """A port where nobody listens, and one where somebody listens who is no scheduler."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for port in (1, silent.getsockname()[1]):
            backend = DaskBackend(f"tcp://127.0.0.1:{port}", BEHAVE, 1, Patience(connect=0.5))
            with pytest.raises(TwinFailed) as failed:
                await backend.start()
            assert failed.value.reason == "SchedulerLost"
            assert f"tcp://127.0.0.1:{port} gave no answer" in failed.value.message
            await backend.close()


async def test_without_dask_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    backend = DaskBackend("tcp://127.0.0.1:1", BEHAVE)
    with pytest.raises(TwinFailed, match="pip install") as failed:
        await backend.start()
    assert failed.value.message == INSTALL
    await backend.close()


@pytest.mark.parametrize(
    "address", ["", "localhost:8786", "tcp://", "tcp://host", "http://host:1", "tcp://host:0x1",
                "tcp://host:99999", "tcp://:8786"],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is no address: give such as tcp://"):
        check_address(address)


async def test_too_large_a_request(backend: DaskBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kfarm_twin.wire.MAX_REQUEST_BYTES", 10)
    with pytest.raises(TwinFailed, match="TooLarge"):
        await ask(backend, "echo", text="x" * 20)
