"""No test reads the configuration of whoever runs it."""

import os

os.environ["FRAMESPOOL_CONFIG"] = os.devnull
