"""The processes of a training or evaluation: Detectron2's ``launch``, or those of torchrun."""

import multiprocessing
import os
import signal
import sys
from argparse import Namespace
from contextlib import contextmanager
from typing import Callable

import torch
from detectron2.engine import default_argument_parser
from detectron2.engine import launch as spawn
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm
from torch import distributed
from torch.distributed.rendezvous import rendezvous
from torch.multiprocessing import ProcessExitedException


def launch(main: Callable[[Namespace], object], args: Namespace) -> None:
    """Call ``main(args)`` in every process.

    torchrun has started the processes already, and its environment variables tell each of them
    its place. Otherwise Detectron2 starts ``--num-gpus`` of them on this machine; ``main`` is
    called in this process if it is the only one.

    Args:
        main: can be pickled.
        args: of Detectron2's ``default_argument_parser``, and perhaps more.

    Raises:
        SystemExit: the arguments contradict each other or torchrun (status 2); or a process has
            ended by a signal or with another status than 0, which is passed on.
        torch.multiprocessing.ProcessRaisedException: with the traceback of the process.
    """
    check_arguments(args)
    if distributed.is_torchelastic_launched():
        join_torchrun()
        main(args)
    elif args.num_gpus * args.num_machines <= 1:
        main(args)
    else:
        with workers_get_signals(), workers_status():
            spawn(
                main,
                args.num_gpus,
                num_machines=args.num_machines,
                machine_rank=args.machine_rank,
                dist_url=args.dist_url,
                args=(args,),
            )


def join_torchrun() -> None:
    """Join the other processes that torchrun has started, as Detectron2's ``launch`` does.

    After a restart (``--max-restarts``) torchrun's store still has the addresses of the processes
    that are gone. On one machine the number of the attempt keeps them apart; several machines may
    count their restarts differently.
    """
    on_gpus = torch.cuda.is_available()
    if on_gpus:
        torch.cuda.set_device(torchrun("LOCAL_RANK"))
    store, rank, processes = next(rendezvous("env://", timeout=DEFAULT_TIMEOUT))
    if torchrun("GROUP_WORLD_SIZE") == 1:
        attempt = torchrun("TORCHELASTIC_RESTART_COUNT")
        store = distributed.PrefixStore(f"attempt{attempt}", store)
    distributed.init_process_group(
        "nccl" if on_gpus else "gloo",
        store=store,
        rank=rank,
        world_size=processes,
        timeout=DEFAULT_TIMEOUT,
    )
    comm.create_local_process_group(torchrun("LOCAL_WORLD_SIZE"))
    comm.synchronize()


def torchrun(name: str) -> int:
    """Read a variable of torchrun's. It calls the processes of one machine a "group"."""
    return int(os.environ[name])


def check_arguments(args: Namespace) -> None:
    """Refuse what would make processes wait for each other in vain.

    A value that is the default of its argument counts as not given.

    Raises:
        SystemExit: with status 2.
    """
    parser = default_argument_parser()
    if not distributed.is_torchelastic_launched():
        if args.num_machines > 1 and args.dist_url in ("auto", parser.get_default("dist_url")):
            parser.error(
                "with --num-machines give all machines the address of the first: "
                "--dist-url tcp://ADDRESS:PORT ('auto' works within one machine only)"
            )
        return
    described = {
        "num_gpus": torchrun("LOCAL_WORLD_SIZE"),
        "num_machines": torchrun("GROUP_WORLD_SIZE"),
        "machine_rank": torchrun("GROUP_RANK"),
        "dist_url": "env://",
    }
    for name, value in described.items():
        given = getattr(args, name)
        if given not in (value, parser.get_default(name)):
            parser.error(
                f"--{name.replace('_', '-')} {given} contradicts torchrun, which has {value}. "
                "Leave it out: torchrun starts the processes, see its --nproc-per-node, --nnodes "
                "and --rdzv-endpoint."
            )


@contextmanager
def workers_get_signals():
    """Within it, a signal for this process lets its child processes save their state and end.

    They get SIGTERM; from Ctrl-C in a terminal they know by themselves. Without children it ends
    this process. Those that are still starting end at once; then ``spawn`` ends the others.
    """

    def hand_on(number, frame):
        workers = multiprocessing.active_children()
        if not workers:
            sys.exit(128 + number)
        for worker in workers:
            worker.terminate()  # sends SIGTERM

    names = [name for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), hand_on) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


@contextmanager
def workers_status():
    """Within it, a worker that ends without an exception gives this process its status.

    A signal becomes 128 and its number, as in a shell.
    """
    try:
        yield
    except ProcessExitedException as error:  # the worker has said why
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        sys.exit(error.exit_code if error.exit_code > 0 else 128 - error.exit_code)
