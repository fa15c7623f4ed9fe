import os
import sys
import time

import pytest
import torch

from scnet import Predictor
from scnet.inference import forked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and OpenMP of GNU")
SECONDS = 120  # after which a process hangs


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(forked, "used_threads", False)
    yield
    torch.set_num_threads(before)


def in_a_fork(function):
    """Get what a function returns, or the error that it raises, in a process that is forked."""
    source, target = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = str(function())
        except RuntimeError as error:
            said = str(error)
        os.write(target, said.encode())
        os._exit(0)
    end = time.monotonic() + SECONDS
    while not os.waitpid(child, os.WNOHANG)[0]:
        if time.monotonic() > end:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the process hangs")
        time.sleep(0.05)
    os.close(target)
    with os.fdopen(source) as f:
        return f.read()


@pytest.mark.slow
def test_a_fork_after_several_threads_says_so(weights, images):
    predictor = Predictor(weights)

    def count():
        return len(predictor(images[0]))

    def count_on_one_thread():
        torch.set_num_threads(1)
        return count()

    torch.set_num_threads(2)
    found = count()
    assert in_a_fork(count).startswith("This process was forked after a Predictor had used several")
    assert in_a_fork(count_on_one_thread) == str(found) != "0"
    assert in_a_fork(lambda: in_a_fork(count)).startswith("This process was forked")


def test_a_fork_after_one_thread_may_use_several():
    torch.set_num_threads(1)
    forked.note_threads()
    torch.set_num_threads(2)
    assert in_a_fork(forked.note_threads) == "None"
