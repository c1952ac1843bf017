"""``framespool dashboard``: a spool as a page that moves, for a browser on the same machine.

* Reading needs nothing but the spool: no worker, no producer and no server has to live.
* It listens on 127.0.0.1 only. Whoever has no session sees nothing and changes nothing: see `security`.
* It costs little while somebody looks, and nothing while nobody does: what changed is read from the end of the
  ledger, never a whole stream at a time; see `watch`. A stream's chunks are gone through once, in small pages.
* A browser that is slow is told less often, never kept a queue for; see `feed`.
* Text from elsewhere (names, a server's words) is cleaned and cut here, and is only ever text on the page.

Modules from the bottom up: `texts`, `series`, `chunk_map`, `pictures`, `watch`, `views`, `decisions`, `feed`,
`security`, `app`, `serving`.
"""
