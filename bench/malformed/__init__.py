"""A million malformed records: `records` makes them, `__main__` sends them, `judge` counts."""
