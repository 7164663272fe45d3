"""Grids of runs: `grid` expands options with several values into cells, `launch` runs them, `watch` shows their state,
`records` reads their results, `statistics` compares arms over seeds, `report` writes the report."""
