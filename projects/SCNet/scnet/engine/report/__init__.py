"""The report of an evaluation: one html file that shows its numbers, curves and pictures."""
