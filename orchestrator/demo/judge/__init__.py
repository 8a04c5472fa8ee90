"""The same day in two worlds, judged by one judge: what was delivered, and what customers did."""
