"""What a customer got and did not get, and why, told from the journey log: for people."""
