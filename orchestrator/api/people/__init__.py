"""What people and pages do with one customer: the same for the routes and for the screen."""
