"""One screen for people: what an agent needs to know of a customer, and may do, as web pages.

`door` lets in who has a session, `routes` answer, `pages` turn what the API knows into HTML.
"""
