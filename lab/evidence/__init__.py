"""Files that a build or a boot left behind → typed facts. Pure reading; what is absent is None, never an exception."""
