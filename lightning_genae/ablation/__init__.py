"""Grids of runs: `grid` makes cells of options with several values, `launch` runs them, `watch` tells how they are,
`records` reads what they left, `statistics` compares arms over seeds, `report` writes it down."""
