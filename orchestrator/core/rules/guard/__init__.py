"""What stands between a step and the customer: the questions of `checks`, and `arbitration`."""
