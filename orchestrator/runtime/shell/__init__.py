"""Faust as the shell: life cycle, agent, group membership, assignor. Nobody else imports faust."""
