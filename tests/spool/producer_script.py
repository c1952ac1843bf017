"""One producer of several: pushes chunks 0 to 11 of one stream and says which of them it got in.

Arguments: the spool's folder, this producer's number. Even chunks hold the same frames from every producer, odd
ones hold each producer's own.
"""

import sys

from spool import ChunkConflict, Limits, Spool
from spool.testing import some_frames

if __name__ == "__main__":
    number = int(sys.argv[2])
    with Spool(sys.argv[1], limits=Limits(min_free_bytes=0)) as spool:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        for idx in range(12):
            seed = idx if idx % 2 == 0 else 1000 * (number + 1) + idx
            try:
                spool.push("data-1", idx, some_frames(seed=seed))
            except ChunkConflict:
                continue
            sys.stdout.write(f"{idx}\n")
