"""To come."""

def run(arena):
    raise NotImplementedError
