"""Plain networks and formulas: networks, losses and likelihoods, distributions of latents. They know no data set."""
