"""What is known of the customers of a partition without decoding them."""
