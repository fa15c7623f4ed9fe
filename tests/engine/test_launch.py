"""How processes are started, and how they end. The workers are forked: no imports, no model."""

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from detectron2.utils import comm
from torch.multiprocessing import start_processes

from helpers import command, free_port
from scnet.engine import launch
from scnet_tools.train_net import argument_parser

module = sys.modules["scnet.engine.launch"]
fork = multiprocessing.get_context("fork")
TORCHRUN = {
    **{"TORCHELASTIC_RUN_ID": "none", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
    **{"GROUP_RANK": "1", "GROUP_WORLD_SIZE": "3", "WORLD_SIZE": "6"},
}


def refusal(capsys, *flags):
    with pytest.raises(SystemExit) as error:
        launch(pytest.fail, argument_parser().parse_args(list(flags)))
    assert error.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("url", [[], ["--dist-url", "auto"]])
def test_several_machines_need_an_address(capsys, url):
    message = refusal(capsys, "--num-machines", "2", *url)
    assert "give all machines the address of the first: --dist-url tcp://" in message


@pytest.mark.parametrize(
    "flag, value, torchrun",
    [
        ("--num-gpus", "4", 2),
        ("--num-machines", "2", 3),
        ("--machine-rank", "2", 1),
        ("--dist-url", "tcp://10.0.0.1:29500", "env://"),
    ],
)
def test_what_contradicts_torchrun_is_refused(capsys, monkeypatch, flag, value, torchrun):
    for name, variable in TORCHRUN.items():
        monkeypatch.setenv(name, variable)
    expected = f"{flag} {value} contradicts torchrun, which has {torchrun}"
    assert expected in refusal(capsys, flag, value)


def note_place(args):
    place = (comm.get_rank(), comm.get_local_rank(), comm.get_local_size(), comm.get_world_size())
    Path(args.opts[0], f"{place}").touch()


def worker_of_torchrun(rank, folder, port, flags):
    """One of six processes on three machines, two on each."""
    places = {"RANK": rank, "LOCAL_RANK": rank % 2, "GROUP_RANK": rank // 2, "MASTER_PORT": port}
    os.environ.update(TORCHRUN, MASTER_ADDR="127.0.0.1", **{k: str(v) for k, v in places.items()})
    launch(note_place, argument_parser().parse_args([*flags, str(folder)]))


@pytest.mark.parametrize("flags", [[], ["--num-gpus", "2", "--num-machines", "3"]])
def test_torchrun_says_where_a_process_belongs(tmp_path, flags):
    start_processes(worker_of_torchrun, (tmp_path, free_port(), flags), 6, start_method="fork")
    places = {path.name for path in tmp_path.iterdir()}
    assert places == {f"{(rank, rank % 2, 2, 6)}" for rank in range(6)}


def test_torchrun_trains(environment, run, tmp_path):
    opts = ["SOLVER.MAX_ITER", 1, "SOLVER.STEPS", "()"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    result = run(*torchrun, "train_net.py", *command(tmp_path, *opts), env=environment)
    assert "Rank of current process: 0. World size: 2" in result.stdout
    assert (tmp_path / "model_final.pth").exists() and (tmp_path / "log.txt.rank1").exists()
    assert (tmp_path / "inference/results.json").exists()


def work(rank, folder, status):
    """Until SIGTERM comes; then this takes a moment, as writing a checkpoint does."""
    stopped = []
    if status is not None:
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    else:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    (folder / f"ready{rank}").touch()
    while not stopped:
        time.sleep(0.01)
    time.sleep(0.2)
    (folder / f"saved{rank}").touch()
    sys.exit(status)


def parent(folder, status):
    """What train_net.py is with ``--num-gpus 2``; but its workers are forked."""

    def spawn(main, num_gpus, **kwargs):
        start_processes(work, (folder, status), num_gpus, start_method="fork")

    module.spawn = spawn
    launch(print, argument_parser().parse_args(["--num-gpus", "2"]))


@pytest.fixture
def started(tmp_path):
    """Start parent and workers, and wait for them."""
    processes = []

    def start(status):
        process = fork.Process(target=parent, args=(tmp_path, status))
        process.start()
        processes.append(process)
        deadline = time.time() + 60
        while not all((tmp_path / f"ready{rank}").exists() for rank in range(2)):
            assert process.is_alive() and time.time() < deadline
            time.sleep(0.01)
        return process

    yield start
    for process in processes:
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("status", [0, 3])
def test_signals_reach_the_workers_and_their_status_comes_back(started, tmp_path, status, number):
    process = started(status)
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == status
    assert all((tmp_path / f"saved{rank}").exists() for rank in range(2))


def test_workers_that_do_not_handle_sigterm_end_by_it(started, tmp_path):
    process = started(None)
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 128 + signal.SIGTERM
    assert not list(tmp_path.glob("saved*"))


def test_sigterm_before_there_are_workers_ends_the_process(monkeypatch):
    def spawn(*args, **kwargs):
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(module, "spawn", spawn)
    monkeypatch.setattr(multiprocessing, "active_children", list)
    with pytest.raises(SystemExit) as error:
        launch(print, argument_parser().parse_args(["--num-gpus", "2"]))
    assert error.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
