"""No test reads the configuration of whoever runs it, and none fails because the machine is slow."""

import os

from hypothesis import settings

os.environ["FRAMESPOOL_CONFIG"] = os.devnull
settings.register_profile("framespool", deadline=None)
settings.load_profile("framespool")
