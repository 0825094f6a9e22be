"""Plans a request and runs it: determines the versions it needs, and makes those that do not exist."""
