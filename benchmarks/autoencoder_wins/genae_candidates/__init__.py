"""Uses of an autoencoder in a GAN's game, one class each in candidates.py; gan.py plays with them."""
