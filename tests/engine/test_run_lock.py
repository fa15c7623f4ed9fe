"""Two processes never train in one folder."""

import subprocess
import sys

import pytest

from scnet.engine import run_lock
from scnet.engine.output_dir import refuse_to_overwrite
from scnet.engine.run_lock import NAME, lock_run, unlock_run

HOLD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("run_lock", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
try:
    module.lock_run(sys.argv[2])
except FileExistsError as error:
    print(error, flush=True)
else:
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_process(tmp_path):
    """Start a process that locks the folder and waits; the process, and its first line."""
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, run_lock.__file__, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_folder_in_use_is_refused_until_the_other_process_is_dead(other_process, tmp_path):
    process, line = other_process()
    assert line == "locked"
    with pytest.raises(FileExistsError, match=f"in use by another training, process {process.pid}"):
        lock_run(str(tmp_path))
    process.kill()  # it cannot give anything back
    process.wait()
    lock_run(str(tmp_path))
    lock_run(str(tmp_path))  # one process may ask twice
    _, line = other_process()
    assert "is in use by another training" in line
    unlock_run(str(tmp_path))
    _, line = other_process()
    assert line == "locked"
    refuse_to_overwrite(str(tmp_path))  # the lock alone does not make a run


def test_where_there_are_no_locks_the_log_says_so(tmp_path, monkeypatch, caplog):
    def lockf(file, operation):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(run_lock.fcntl, "lockf", lockf)
    lock_run(str(tmp_path))
    assert "cannot be locked ([Errno 37] No locks available)" in caplog.text
    monkeypatch.setattr(run_lock, "fcntl", None)  # Windows
    (tmp_path / NAME).unlink()
    lock_run(str(tmp_path))
    assert "is not locked: do not start two trainings in it" in caplog.text
