"""Predicting with trained weights: the predictor, what it reads and what can be written."""

from .backends import BACKENDS
from .predictor import Predictor
from .results import load_results
