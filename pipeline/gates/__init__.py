"""Gates before training: what has to hold, and the figures that decide it."""
