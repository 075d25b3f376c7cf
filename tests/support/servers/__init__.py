"""How the tests find, build and start real servers."""
