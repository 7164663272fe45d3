"""Callbacks, one a file: what is recorded, measured and shown while any model trains."""
