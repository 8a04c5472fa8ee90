"""Sans-I/O: bytes in and out, and the state machine of commit and ownership. No Kafka client."""
