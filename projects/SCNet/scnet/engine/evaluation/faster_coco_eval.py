"""AP by faster-coco-eval: the numbers of pycocotools in less time."""

from typing import Dict, List, Optional

from pycocotools.coco import COCO

try:
    from faster_coco_eval import COCOeval_faster
except ModuleNotFoundError:  # the extra "fast" is not installed
    COCOeval_faster = None


def compute_ap(
    ground_truth: COCO,
    results: List[Dict],
    task: str,
    max_dets: List[int],
    img_ids: Optional[List[int]] = None,
) -> Optional["COCOeval_faster"]:
    """Match detections with the ground truth, and sum up how well they agree.

    Args:
        ground_truth: of the data set.
        results: the detections, in COCO's result format.
        task: "bbox" or "segm".
        max_dets: three numbers of detections per image, best first; the last is for AP.
        img_ids: the images to look at; all if None.

    Returns:
        what pycocotools has in a ``COCOeval``; None if there are no detections.
    """
    if not results:
        return None
    # With a box, COCO takes the area of the box for that of the mask. And loadRes adds keys.
    unused = {"bbox"} if task == "segm" else set()
    found = ground_truth.loadRes([{k: x[k] for k in x.keys() - unused} for x in results])
    evaluation = COCOeval_faster(ground_truth, found, task, print_function=print)
    evaluation.params.maxDets = max_dets
    if img_ids is not None:
        evaluation.params.imgIds = img_ids
    evaluation.run()
    return evaluation
