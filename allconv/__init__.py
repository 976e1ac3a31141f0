"""Convolutional networks in pure NumPy."""
