"""Verbs of processes that answer others."""
