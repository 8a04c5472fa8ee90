"""A day in the life of a small outdoor shop on a real Kafka, and what `run` and `explain` need."""
