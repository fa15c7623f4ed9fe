"""Training and evaluation, on Detectron2's ``DefaultTrainer`` and ``COCOEvaluator``."""

from .launch import launch
from .setup import configure_data, setup
from .trainer import Trainer, load_for_evaluation
