"""Setting up the processes that load data."""

import os
import signal
import threading


def outlive_signals(worker: int) -> None:
    """Let only the training end this worker; for ``DataLoader(worker_init_fn=...)``.

    A cluster that is about to take a machine back may send SIGTERM to all processes of a job, and
    a terminal sends them SIGINT for Ctrl-C and SIGHUP when it is closed. The training needs its
    workers until it has written a checkpoint. SIGTERM from the training itself does end them.
    Where the sender of a signal cannot be told (macOS), SIGTERM is not looked at.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent sends SIGTERM."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        continue
    os._exit(0)
