"""Prompts and answers that a model writes: self-instruct, and drafts for people to review."""
