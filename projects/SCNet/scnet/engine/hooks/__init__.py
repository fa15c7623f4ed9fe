"""What happens before, between and after the steps of a training."""
