"""Turns conversations into token ids: templates, tokenizers, rendering."""
