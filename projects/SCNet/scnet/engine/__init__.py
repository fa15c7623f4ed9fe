"""Training and evaluation, on Detectron2's ``DefaultTrainer`` and ``COCOEvaluator``."""

from .configure import configure_for_datasets
from .launch import launch
from .own_data import register_datasets
from .setup import argument_parser, configure_data, setup
from .trainer import Trainer, load_for_evaluation
