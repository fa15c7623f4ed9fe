"""The evaluation of a model in COCO's metrics."""
