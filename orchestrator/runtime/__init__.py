"""The thin driver: Faust and the Kafka clients. Moves bytes, decides nothing."""
