"""Verbs for those who write journeys: check, try, show, publish."""
