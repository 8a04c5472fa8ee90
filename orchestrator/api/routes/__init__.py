"""The routes, a file for each subject. `application` includes every router that stands in them."""
