"""The model that an evaluation is of."""

from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN
from torch import nn

from ...checkpoint import SCNetCheckpointer, load_model
from ...data.datasets.class_names import check_class_names
from ...inference.optimize import optimize_as_configured
from ...tf32 import set_tf32


def load_for_evaluation(cfg: CfgNode, resume: bool = False) -> GeneralizedRCNN:
    """Load the model with the weights of MODEL.WEIGHTS, in evaluation mode.

    Args:
        cfg: of the model.
        resume: take the last checkpoint of OUTPUT_DIR instead, if there is one.

    Returns:
        the model, optimized if MODEL.SCNET.OPTIMIZE_FOR_INFERENCE says so.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: no weights are named; they do not fit the config; or they are for other
            classes than those of a set of DATASETS.TEST.
    """
    set_tf32(cfg.SOLVER.TF32)
    last = SCNetCheckpointer(nn.Identity(), cfg.OUTPUT_DIR).get_checkpoint_file()  # or ""
    weights = last if resume and last else cfg.MODEL.WEIGHTS
    model: GeneralizedRCNN = load_model(cfg, weights)
    names = model.metadata.get("thing_classes")
    for dataset in cfg.DATASETS.TEST if names else ():
        check_class_names(f"The weights '{weights}'", names, dataset)
    return optimize_as_configured(model, cfg)
