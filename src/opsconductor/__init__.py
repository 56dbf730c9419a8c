"""OpsConductor: a self-hosted execution plane for IT operations."""

__version__ = "0.1.0"
