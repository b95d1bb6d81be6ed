"""The browser page: the painter, its fields and examples, and what the server keeps for each visitor."""
