"""What the process from which the commands of tests are forked does once: imports, and the composing of their settings.

Hydra takes most of a refused command's time for both. What is imported is frozen: otherwise each garbage collection in
each command looks through it, and copies its pages.
"""

import gc

import pipeline.commands.closing
import pipeline.engine.runner
import pipeline.modeling.rewards.training
import pipeline.modeling.tuning  # noqa: F401
from pipeline.config import compose
from tests.stages.small import TINY

compose.load(TINY)
gc.freeze()
