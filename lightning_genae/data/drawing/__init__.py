"""Pictures of data: images as a grid, points in the plane, series as lines, sounds as spectrograms, texts as a page."""
