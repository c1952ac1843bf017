"""One real push, with a word before and after it, to be watched by strace. Arguments: the spool's folder."""

import os
import sys

from spool import Limits, Spool
from spool.testing import some_frames

if __name__ == "__main__":
    with Spool(sys.argv[1], limits=Limits(min_free_bytes=0)) as spool:
        os.write(1, b"pushing\n")
        spool.push("data-1", 0, some_frames())
        os.write(1, b"returned\n")
        os._exit(0)
