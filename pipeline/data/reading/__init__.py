"""Users' files in, raw rows with their places out."""
