"""What a data set must be for training to go well, and the checks that look for it."""
