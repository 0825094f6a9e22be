"""Raw rows in, demonstrations and judgements out: one function per format, and which of them a file is in."""
