"""Modules and an init → reproducible initramfs; architecture row and artefacts → a qemu Step. Pure."""
