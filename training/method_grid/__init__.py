"""Pre-training methods held against each other: the same scans, network and number of cubes, with and without
semantics.

    sg-hub compare-methods methods-3d-tiny recipe.source=/data/openkbp/ct recipe.split=/data/openkbp/patients.csv
        --data /data --out runs/methods

`recipe.py` is the grid as a TOML file; `walk.py` makes the weights and measures them, by the commands that there are;
`measures.py` reads what was measured; `page.py` writes it down.
"""
