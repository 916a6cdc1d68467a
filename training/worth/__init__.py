"""What weights are worth on somebody's own data: without labels, and frozen.

    sg-hub worth --target my.toml --weights NAME random:NAME --out runs/worth

`suite.py` runs the parts, each of which is a file in `measures/`; `page.py` writes it down.
"""
