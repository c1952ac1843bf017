"""Where streams are delivered: the protocol in `base`, one module for each kind."""
