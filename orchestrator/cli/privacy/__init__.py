"""What a customer may ask for by law: to be forgotten, and to be told what is known of them."""
