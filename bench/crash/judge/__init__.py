"""The judge of the crash run: reads the topics back and says what must not be there."""
