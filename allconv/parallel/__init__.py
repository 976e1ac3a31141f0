"""Threads, processes and memory: how the work of a layer is divided, and where its arrays lie."""
