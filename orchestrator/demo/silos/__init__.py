"""The other world of the demo: the same customers, and a tool for each channel that asks nobody."""
