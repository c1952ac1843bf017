"""OpenStack Swift with its S3 interface, all of it on this machine and as nobody in particular; see ``run.py``."""
