"""What is mended in a conversation and what is left out: one small pure function per rule, in one table."""
