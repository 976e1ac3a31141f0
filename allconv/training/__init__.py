"""The training loop, and what a training run needs around it."""
