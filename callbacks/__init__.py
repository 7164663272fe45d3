"""Callbacks, one per file: what is recorded, measured and shown while a model trains."""
