"""Reads users' files into raw rows with their places."""
