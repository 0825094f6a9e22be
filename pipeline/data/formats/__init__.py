"""Converts raw rows to demonstrations and judgements: one function per format, and format detection."""
