"""One customer behind several ids: which id stays, what is united, what owners tell others."""
