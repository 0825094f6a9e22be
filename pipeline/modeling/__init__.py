"""All use of transformers, peft, bitsandbytes and trl: loading, generation, training, scoring."""

import datasets
from transformers.utils import logging

# Messages of the libraries go to the version's log file like all others. Their progress bars for loading and saving
# have little information and break the lines of the console.
logging.disable_default_handler()
logging.enable_propagation()
logging.disable_progress_bar()
datasets.disable_progress_bars()
