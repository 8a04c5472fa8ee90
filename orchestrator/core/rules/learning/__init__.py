"""What follows from what a customer does: their stage, and when they respond."""
