"""Prompts: out of files, out of conversations, and which of them to ask about."""
