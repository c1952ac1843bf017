"""From a live source to chunks: frames are taken as they come, and whatever is missing is counted.

* A thread of its own takes frames from the source. It waits for nothing but the source.
* Between it and the disk is a ring: room for frames in memory, of a fixed size. A frame that finds it full is
  lost, and that is counted, timed and written to the ledger with the next chunk.
* Chunks are cut by count, and by time, so that a camera that stops keeps no half chunk in memory.
"""

from uploader.grabbing.assembler import Assembled, Assembler
from uploader.grabbing.grabber import Figures, Happened

__all__ = ["Assembled", "Assembler", "Figures", "Happened"]
