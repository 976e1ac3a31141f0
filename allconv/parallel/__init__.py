"""What runs on threads and processes, and the memory that it works in; no mathematics of layers."""
