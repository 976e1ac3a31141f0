"""The arithmetic of layers as functions: arrays in, arrays out, and none of them keeps anything between two calls."""
