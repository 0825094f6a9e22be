"""Versioned artifacts: where they lie, what their versions are hashed from, what they were made from, what may go."""
