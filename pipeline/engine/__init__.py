"""Plans a request and runs it: which versions are needed, which are there, and who makes the rest."""
