"""From conversations to token ids: templates, tokenizers, rendering."""
