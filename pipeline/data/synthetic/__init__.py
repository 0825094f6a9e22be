"""Prompts and answers written by a model: self-instruct, and drafts for people to review."""
