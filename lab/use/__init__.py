"""One module a use case, each readable from top to bottom on one screen."""
