"""The site: static pages over many runs, opened from the disk, with no request to any network."""
