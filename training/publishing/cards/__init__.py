"""The cards, one file for each kind of weights, and what they are built from."""
