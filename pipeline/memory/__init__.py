"""The memory plan: how much memory a stage needs, by part and phase, computed without torch before it runs."""
