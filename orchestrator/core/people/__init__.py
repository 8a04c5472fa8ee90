"""What our people need to know and do: tasks, their context, and what may be offered now."""
