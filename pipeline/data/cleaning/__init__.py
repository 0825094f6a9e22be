"""Cleaning rules: each is one small pure function that corrects a conversation or leaves it out."""
