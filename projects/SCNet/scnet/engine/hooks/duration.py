"""How long a training will take, said once and in words."""

import logging

from detectron2.engine import HookBase

logger = logging.getLogger(__name__)

STEPS = 20  # after which it is said: the first ones are slower, and a log has a line by then


class Duration(HookBase):
    """Says after some steps how long the others will take, at the pace of these."""

    def after_step(self) -> None:
        trainer = self.trainer
        left = trainer.max_iter - trainer.iter - 1
        if trainer.iter + 1 - trainer.start_iter == STEPS and left:
            pace = trainer.storage.history("time").median(STEPS)
            logger.info(
                f"About {in_words(pace * left)} for the {left} iterations left, and what "
                "evaluations take."
            )


def in_words(seconds: float) -> str:
    """Write a time with the largest unit of which there are at least two."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(2, seconds):.0f} seconds"
