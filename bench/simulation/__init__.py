"""One deterministic simulation: the real core and the real state machine on a simulated Kafka."""
