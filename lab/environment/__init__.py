"""The effectful half: engine, images, filesystems, sources, and executing Steps into an evidence folder."""
