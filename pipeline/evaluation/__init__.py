"""Compares policies: win rates, intervals, calibration, and the terms of the comparison."""
