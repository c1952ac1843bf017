"""framespool's uploader: record RHEED frames durably, deliver them in order, prove what arrived."""

__version__ = "0.1.0"
