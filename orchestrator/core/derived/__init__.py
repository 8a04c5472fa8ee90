"""Attributes that follow from events: what is counted, how it is undone, what it amounts to."""
