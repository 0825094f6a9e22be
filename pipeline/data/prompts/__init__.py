"""Reads prompts from files, takes prompts from conversations, and chooses prompts for annotation."""
