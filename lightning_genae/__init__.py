"""Generative autoencoders and GANs in which a trained autoencoder augments the data.

Importing this package imports nothing heavy: the command line lists its choices before torch is loaded.
"""

__version__ = "0.1.0"
