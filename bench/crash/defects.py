"""stub."""

DEFECTS = {}


def launcher(name): ...
