"""How long a training will take, in words."""

import logging
from types import SimpleNamespace

import pytest
from detectron2.utils.events import EventStorage

from scnet.engine.hooks.duration import Duration, in_words


@pytest.mark.parametrize(
    "seconds, words",
    [
        *((0.4, "2 seconds"), (119, "119 seconds"), (120, "2 minutes"), (700, "12 minutes")),
        *((7199, "120 minutes"), (7200, "2 hours"), (100 * 3600, "4 days")),
    ],
)
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words


@pytest.mark.parametrize(
    "start, end, said",
    [(0, 920, "12 minutes for the 900"), (100, 120, ""), (50, 120, "40 seconds for the 50")],
)
def test_it_is_said_once_and_of_what_is_left(caplog, start, end, said):
    """The first step took a minute. Where none is left nothing is said."""
    caplog.set_level(logging.INFO)
    hook = Duration()
    with EventStorage(start) as storage:
        hook.trainer = SimpleNamespace(start_iter=start, max_iter=end, storage=storage)
        for hook.trainer.iter in range(start, min(end, start + 100)):
            storage.put_scalar("time", 60 if hook.trainer.iter == start else 0.8)
            hook.after_step()
            storage.step()
    messages = [f"About {said} iterations left, and what evaluations take."] if said else []
    assert caplog.messages == messages
