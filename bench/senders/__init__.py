"""Senders under trial: killed with -9 over many commands, and raced by purchases."""
