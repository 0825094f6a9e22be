"""The Argilla backend: its client, its page, its answers."""
