"""How the figures of the README are had. Nothing in `orchestrator` imports this room."""
