"""``watch:FOLDER``: a folder that another program fills; each of its files becomes frames exactly once.

Invariants:

1. A file is taken when it is finished, and then whole: its digest is that of the bytes that were decoded.
2. Files are taken in natural order of their names. One that is not finished holds back those after it, until a
   patience is over; then they go ahead, and it is told.
3. What was taken is never taken again, whatever it holds later. If it holds something else, it is told.
4. A file that is not taken is told of, with the reason, and looked at again when it changes.
5. Listing the folder is the only truth. A look costs at most a fifth of the time, however large the folder is.
6. Only names that the folder itself lists are opened, and only regular files; nothing is ever written there.

Source:
    docs/adr/0029-watched-folders.md
"""

from uploader.sources.watch.folder import WatchedFolder, open_watch

__all__ = ["WatchedFolder", "open_watch"]
