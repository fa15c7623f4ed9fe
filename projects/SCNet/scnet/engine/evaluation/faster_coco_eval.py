"""faster-coco-eval's matching and accumulation in Detectron2's ``COCOEvaluator``."""

from contextlib import contextmanager
from functools import partial

from detectron2.evaluation import coco_evaluation

try:
    from faster_coco_eval import COCOeval_faster
except ModuleNotFoundError:  # the extra "fast" is not installed
    COCOeval_faster = None


@contextmanager
def faster_coco_eval(enabled: bool):
    """Within it, Detectron2's ``COCOEvaluator`` takes faster-coco-eval, if it is installed.

    It takes the place of Detectron2's own fast implementation, which is compiled with Detectron2
    and not always there, and of pycocotools for another number of detections per image than 100.
    """
    names = ("COCOeval_opt", "COCOevalMaxDets") if enabled and COCOeval_faster else ()
    before = {name: getattr(coco_evaluation, name) for name in names}
    for name in names:
        setattr(coco_evaluation, name, partial(COCOeval_faster, print_function=print))
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(coco_evaluation, name, value)


def implementation(use_fast_impl: bool) -> str:
    """Whose code computes AP, for the log; ``use_fast_impl`` is that of ``COCOEvaluator``."""
    if not use_fast_impl:
        return "pycocotools"
    return "faster-coco-eval" if COCOeval_faster else "Detectron2"
