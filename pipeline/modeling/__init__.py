"""All use of transformers, peft, bitsandbytes and trl: loading, generation, training, scoring."""

from pipeline.garbage import kept_imports

with kept_imports():
    import datasets
    import peft  # noqa: F401
    from transformers import PreTrainedModel  # noqa: F401
    from transformers.utils import logging

# Messages of the libraries go to the version's log file like all others. Their progress bars for loading and saving
# have little information and break the lines of the console.
logging.disable_default_handler()
logging.enable_propagation()
logging.disable_progress_bar()
datasets.disable_progress_bars()
