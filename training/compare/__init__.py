"""Which weights should I use for my task? Trials of each, by both protocols, with few labels and with all; one page.

    sg-hub compare --target my.toml --weights A B random --out runs/compare

`compare.py` runs the grid of `training.trials.grids`; `contrasts.py` says what differs; `advice.py` says it in a
sentence; `page.py` shows it.
"""
