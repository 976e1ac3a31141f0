"""Data sets, loaders, augmentation and normalization."""
