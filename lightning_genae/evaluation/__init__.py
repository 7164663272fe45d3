"""What models are worth: their samples by all metrics, reconstructions, latents, and the protocol of these numbers."""
