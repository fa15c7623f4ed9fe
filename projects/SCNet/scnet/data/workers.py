"""What the processes that load data have in common."""

import signal


def ignore_sigterm(worker: int) -> None:
    """For ``DataLoader(worker_init_fn=...)``.

    A cluster that is about to end a job may send SIGTERM to all its processes. The training needs
    its workers until it has written a checkpoint; they end when it does.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
