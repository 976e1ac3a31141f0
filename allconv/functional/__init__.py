"""Arrays in, arrays out: no state, no classes. The engine."""
