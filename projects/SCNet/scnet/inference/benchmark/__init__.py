"""How fast models are, part by part, in one run and on the same images."""

from .report import benchmark
from .settings import Settings

__all__ = ["Settings", "benchmark"]
