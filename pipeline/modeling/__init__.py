"""The only place that knows how transformers, peft, bitsandbytes and trl are set up."""
