"""The arithmetic of layers as functions: arrays in, arrays out. No result depends on an earlier call."""
