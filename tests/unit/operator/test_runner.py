"""The process isolation of the twin, with real processes that crash, hang and eat memory."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kfarm_operator.runner import Reply, TwinFailed, TwinRunner
from kfarm_twin.warm import warm_request
from kfarm_twin.work.forkclient import ServerCommand
from processes import alive, until

HERE = Path(__file__).parent
MIB = 1 << 20
ENVIRONMENT = {"PYTHONPATH": str(HERE)}
COMMAND = ServerCommand(entry="runner_entries:behave", warm="", environment=ENVIRONMENT)


@pytest.fixture
async def runner() -> AsyncIterator[TwinRunner]:
    runner = TwinRunner(concurrency=8, command=COMMAND)
    await runner.start()
    yield runner
    await runner.close()


async def ask(
    runner: TwinRunner, do: str, *, deadline_s: float = 60, memory: int = 256 * MIB, **wish: Any
) -> Reply:
    body = json.dumps({"do": do, **wish}).encode()
    return await runner.run_bytes(body, deadline_s=deadline_s, memory_bytes=memory)


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def pids_in(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def server_of(runner: TwinRunner) -> int:
    pid = runner.server_pid
    assert pid is not None
    return pid


async def failure(runner: TwinRunner, do: str, **wish: Any) -> TwinFailed:
    with pytest.raises(TwinFailed) as raised:
        reply = await ask(runner, do, **wish)
        assert reply.error is None, reply.error
    return raised.value


async def test_a_run_answers(runner: TwinRunner) -> None:
    reply = await ask(runner, "echo", text="안녕")
    assert reply.verdict is not None
    assert reply.verdict.message == "안녕"


async def test_a_child_is_confined(runner: TwinRunner) -> None:
    reply = await ask(runner, "look", deadline_s=10)
    assert reply.verdict is not None
    seen = json.loads(reply.verdict.message)
    assert [seen["descriptors"].pop(fd) for fd in "01"] == ["/dev/null", "/dev/null"]
    assert seen["descriptors"].pop("2").startswith("/memfd:")
    assert seen["descriptors"].pop("3").startswith("socket:")
    assert seen["descriptors"] == {}
    assert seen["session"] and seen["limited"]
    assert seen["core"] == [0, 0]
    assert seen["files"] <= 256
    assert seen["cpu"] == 10 * len(os.sched_getaffinity(0)) + 1
    assert seen["threads"] == 1


@pytest.mark.parametrize(
    ("do", "text"),
    [
        ("segfault", "Segmentation fault"),
        ("abort", "Aborted"),
        ("rubbish", "exit code 1"),
    ],
)
async def test_a_crash_is_told(runner: TwinRunner, do: str, text: str) -> None:
    failed = await failure(runner, do)
    assert failed.reason == "Crashed"
    assert text in failed.message


async def test_a_segfault_says_where(runner: TwinRunner) -> None:
    failed = await failure(runner, "segfault")
    assert "in do_segfault" in failed.message


async def test_native_code_out_of_memory(runner: TwinRunner) -> None:
    """Rust and C++ abort with words on standard error where Python raises."""
    assert (await failure(runner, "native_hog")).reason == "MemoryExceeded"


async def test_an_exit_in_mid_run_is_a_crash(runner: TwinRunner) -> None:
    failed = await failure(runner, "exit", code=3)
    assert (failed.reason, "exit code 3" in failed.message) == ("Crashed", True)


async def test_an_exception_says_where(runner: TwinRunner) -> None:
    reply = await ask(runner, "fail")
    assert reply.error is not None
    assert reply.error.kind == "Crash"
    assert reply.error.message.startswith("ZeroDivisionError: by design (runner_entries.py:")


async def test_bad_input_is_told_apart(runner: TwinRunner) -> None:
    reply = await ask(runner, "refuse")
    assert reply.error is not None
    assert reply.error.kind == "InputError"
    assert "found no such farm; expected one of a, b" in reply.error.message


async def test_a_hang_meets_the_deadline(runner: TwinRunner, tmp_path: Path) -> None:
    failed = await failure(runner, "hang", deadline_s=1.5, pids=str(tmp_path / "pids"))
    assert failed.reason == "DeadlineExceeded"
    assert "1.5 s" in failed.message
    assert not any(alive(pid) for pid in pids_in(tmp_path / "pids"))


async def test_the_whole_group_is_killed(runner: TwinRunner, tmp_path: Path) -> None:
    run = asyncio.create_task(ask(runner, "family", pids=str(tmp_path / "pids")))
    await until(lambda: len(pids_in(tmp_path / "pids")) == 2)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await until(lambda: not any(alive(pid) for pid in pids_in(tmp_path / "pids")))


async def test_too_much_memory(runner: TwinRunner) -> None:
    reply = await ask(runner, "hog", memory=128 * MIB)
    assert reply.error is not None
    assert reply.error.kind == "Memory"


async def test_too_large_a_result(runner: TwinRunner) -> None:
    reply = await ask(runner, "large")
    assert reply.error is not None
    assert reply.error.kind == "TooLarge"
    assert "at most 4194304" in reply.error.message


async def test_too_large_a_request(runner: TwinRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kfarm_twin.wire.MAX_REQUEST_BYTES", 8)
    assert (await failure(runner, "echo", text="x")).reason == "TooLarge"


async def test_one_crash_harms_no_other_run(runner: TwinRunner) -> None:
    runs = [
        ask(runner, "segfault") if i == 3 else ask(runner, "echo", text=str(i)) for i in range(8)
    ]
    results = await asyncio.gather(*runs, return_exceptions=True)
    crashed = results.pop(3)
    assert isinstance(crashed, TwinFailed)
    assert crashed.reason == "Crashed"
    told = [r.verdict.message for r in results if isinstance(r, Reply) and r.verdict]
    assert told == ["0", "1", "2", "4", "5", "6", "7"]
    assert children(server_of(runner)) == []


async def test_cancelling_kills_the_child(runner: TwinRunner, tmp_path: Path) -> None:
    run = asyncio.create_task(ask(runner, "hang", pids=str(tmp_path / "pids")))
    await until(lambda: pids_in(tmp_path / "pids") != [])
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert not any(alive(pid) for pid in pids_in(tmp_path / "pids"))


async def test_waiting_for_a_slot_does_not_count(tmp_path: Path) -> None:
    runner = TwinRunner(concurrency=1, command=COMMAND)
    await runner.start()
    long = asyncio.create_task(ask(runner, "hang", deadline_s=1.5, pids=str(tmp_path / "pids")))
    await until(lambda: pids_in(tmp_path / "pids") != [])
    short = asyncio.create_task(ask(runner, "echo", text="after"))
    with pytest.raises(TwinFailed, match="DeadlineExceeded"):
        await long
    reply = await short
    assert reply.verdict is not None
    await runner.close()


async def test_a_killed_server_is_replaced(runner: TwinRunner, tmp_path: Path) -> None:
    paths = [tmp_path / str(i) for i in range(3)]
    runs = [asyncio.create_task(ask(runner, "hang", pids=str(path))) for path in paths]
    await until(lambda: all(pids_in(path) for path in paths))
    before = server_of(runner)
    os.kill(before, signal.SIGKILL)
    for failed in await asyncio.gather(*runs, return_exceptions=True):
        assert isinstance(failed, TwinFailed)
        assert failed.reason == "Crashed"
        assert "fork server ended" in failed.message
    await until(lambda: not any(alive(pid) for path in paths for pid in pids_in(path)))
    reply = await ask(runner, "echo", text="again")
    assert reply.verdict is not None
    assert server_of(runner) != before


async def test_an_old_server_is_restarted_unasked(
    runner: TwinRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfarm_twin.work.forked.LEAST_LIFE_S", 0.0)
    before = server_of(runner)
    os.kill(before, signal.SIGKILL)
    await until(lambda: runner.server_pid not in {None, before})


async def test_a_stopped_server_does_not_keep_runs(
    runner: TwinRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfarm_twin.work.forkclient.KILL_GRACE_S", 0.2)
    pids = tmp_path / "pids"
    run = asyncio.create_task(ask(runner, "hang", deadline_s=2, pids=str(pids)))
    await until(lambda: pids_in(pids) != [])
    os.kill(server_of(runner), signal.SIGSTOP)
    with pytest.raises(TwinFailed, match="DeadlineExceeded"):
        await run
    await until(lambda: not any(alive(pid) for pid in pids_in(pids)))


async def test_nothing_is_left_over(tmp_path: Path) -> None:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    runner = TwinRunner(concurrency=8, command=COMMAND)
    await runner.start()
    server = server_of(runner)
    paths = [tmp_path / str(i) for i in range(4)]
    runs = [asyncio.create_task(ask(runner, "hang", pids=str(path))) for path in paths]
    await until(lambda: all(pids_in(path) for path in paths))
    await runner.close()
    for failed in await asyncio.gather(*runs, return_exceptions=True):
        assert isinstance(failed, TwinFailed)
    pids = [server, *(pid for path in paths for pid in pids_in(path))]
    await until(lambda: not any(alive(pid) for pid in pids))
    await until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= descriptors)
    assert (await failure(runner, "echo", text="x")).message == "the runner is closed"


async def test_two_hundred_runs_leak_nothing(runner: TwinRunner) -> None:
    server = server_of(runner)
    await ask(runner, "echo", text="first")
    ours, theirs = (len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in ("self", server))
    for _ in range(25):
        await asyncio.gather(*(ask(runner, "echo", text="x") for _ in range(8)))
    assert len(list(Path(f"/proc/{server}/fd").iterdir())) == theirs
    await until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= ours)
    assert children(server) == []
    assert server_of(runner) == server


@pytest.mark.parametrize(
    ("warm", "text"),
    [
        ("runner_entries:start_thread", "forking is not safe"),
        ("runner_entries:broken_warm_up", "RuntimeError: no kernels here"),
        ("no_such_module:warm", "ModuleNotFoundError"),
    ],
)
async def test_a_server_that_cannot_start_says_why(warm: str, text: str) -> None:
    command = ServerCommand(entry="runner_entries:behave", warm=warm, environment=ENVIRONMENT)
    runner = TwinRunner(command=command)
    with pytest.raises(TwinFailed, match="Crashed") as raised:
        await runner.start()
    assert text in raised.value.message
    await runner.close()


def test_a_server_dies_with_its_parent(tmp_path: Path) -> None:
    """The parent is killed with -9: neither server nor children stay."""
    script = (
        "import asyncio, json, sys\n"
        "from kfarm_twin.work.forkclient import ServerCommand\n"
        "from kfarm_operator.runner import TwinRunner\n"
        "async def main():\n"
        "    command = ServerCommand('runner_entries:behave', '', {'PYTHONPATH': sys.argv[1]})\n"
        "    runner = TwinRunner(command=command)\n"
        "    await runner.start()\n"
        "    body = json.dumps({'do': 'hang', 'pids': sys.argv[2]}).encode()\n"
        "    run = asyncio.create_task(\n"
        "        runner.run_bytes(body, deadline_s=60, memory_bytes=1 << 28))\n"
        "    print(runner.server_pid, flush=True)\n"
        "    await run\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "pids"
    argv = [sys.executable, "-c", script, str(HERE), str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        asyncio.run(until(lambda: pids_in(path) != []))
        parent.kill()
    pids = [server, *pids_in(path)]
    asyncio.run(until(lambda: not any(alive(pid) for pid in pids)))


@pytest.fixture
async def twin() -> AsyncIterator[TwinRunner]:
    """A runner with the default command: the real twin."""
    runner = TwinRunner()
    await runner.start()
    yield runner
    await runner.close()


async def test_the_twin_itself(twin: TwinRunner) -> None:
    """Verdicts repeat; bad input and a short deadline are told apart."""
    request = warm_request()
    first, second = await asyncio.gather(
        *(twin.run(request, deadline_s=120, memory_bytes=2048 * MIB) for _ in range(2))
    )
    assert first == second
    assert first.inputs_digest == request.digest()
    wrong = request.model_copy(update={"profiles": []})
    with pytest.raises(TwinFailed, match="warm") as raised:
        await twin.run(wrong, deadline_s=120, memory_bytes=2048 * MIB)
    assert raised.value.reason == "BadInput"
    with pytest.raises(TwinFailed) as raised:
        await twin.run(request, deadline_s=0.0001, memory_bytes=2048 * MIB)
    assert raised.value.reason == "DeadlineExceeded"


def test_the_operator_imports_nothing_heavy() -> None:
    script = (
        "import sys, kfarm_operator.runner\n"
        "heavy = {'numba', 'llvmlite', 'numpy', 'pyarrow', 'plotly', 'pandas', 'typer', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
