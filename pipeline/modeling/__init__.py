"""The only place that knows how transformers, peft, bitsandbytes and trl are set up."""

import datasets
from transformers.utils import logging

# What the libraries log belongs into the version's log file, like everything else, and their bars for loading and
# saving say little and break lines.
logging.disable_default_handler()
logging.enable_propagation()
logging.disable_progress_bar()
datasets.disable_progress_bars()
