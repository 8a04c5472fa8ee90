"""The same core without Kafka: scenarios in virtual time, and decisions that are made again."""
