"""What travels on the forward topic: records on their way home, and what owners tell each other."""
