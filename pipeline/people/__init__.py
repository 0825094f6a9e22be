"""Where people are asked: the annotators, the rounds they are given, and what has come back."""
