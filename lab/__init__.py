"""kbuild-lab: a test lab for the Linux kernel's own build system. The house plan is docs/architecture.md."""

__version__ = "0.1.0"
