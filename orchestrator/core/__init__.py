"""The decision: pure, synchronous, total. No clock, no randomness, no I/O, no Kafka type."""
