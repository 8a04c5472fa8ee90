"""Judges of a history, each by an idea of its own, from the topics alone."""
