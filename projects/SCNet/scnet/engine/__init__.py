"""Training and evaluation, on Detectron2's ``DefaultTrainer`` and ``COCOEvaluator``."""

from .setup import register_datasets, setup
from .trainer import Trainer
