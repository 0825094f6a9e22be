"""Tokens that are there: which rows fit into a model's context, and how long answers may become."""
