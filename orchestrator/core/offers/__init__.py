"""Offers at one customer: what may be promised, what is, and what became of it."""
