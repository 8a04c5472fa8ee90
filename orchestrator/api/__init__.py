"""HTTP and its read model: reads state, explains decisions, takes events in, decides nothing.

`server` runs the process, `application` puts the routes together, `model` is fed from the topics.
"""
