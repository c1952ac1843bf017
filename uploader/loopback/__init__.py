"""A stand-in for the vendor's ingest server, on this machine, to try framespool against.

It runs as a process of its own (`python -m uploader.loopback --root DIR`), speaks the wire protocol as the
vendor's server does, judges every request on its own account (it shares no code with the client: nothing here
imports `spool` or the rest of `uploader`), keeps what it received where plain zarr-python can read it, and
can be told to misbehave. It needs the extra `framespool[demo]`; from Python, `uploader.loopback.process` drives
it.

On disk, below the root:

    catalogue.sqlite3                  streams, samples, tags, upload permissions
    presign.secret                     signs upload URLs; kept, so that a restart honours them
    server.lock                        one server per root
    server.stderr                      what a server started by `LoopbackServer` complained about
    received/{data_id}/
        objects/frames.zarr/frames/c/{k}/0/0    exactly the bytes of the last accepted body
        frames.zarr                             the same frames as one Zarr array, readable at any moment
        log.jsonl                               one line per accepted body and per event, in order

Durability: an answered request survives `kill -9` of the server, not a power cut (nothing is fsynced: the far
end must not compete for the disk with the spool under test).
"""
