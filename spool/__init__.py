"""The on-disk queue: it knows disks and never the network."""
