"""Gates before training and evaluation: rules, and the figures that they are checked with."""
