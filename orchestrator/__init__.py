"""Journey orchestrator: one consistent conversation per customer over all channels, on Kafka."""

__version__ = "0.1.0"
