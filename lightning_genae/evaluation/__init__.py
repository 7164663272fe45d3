"""The evaluation of models: metrics of their samples, reconstructions and latents, and the protocol of the numbers."""
