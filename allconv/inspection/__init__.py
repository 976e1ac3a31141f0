"""What looks inside a network: activations, time and memory, and what it reacts to."""
