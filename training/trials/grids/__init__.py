"""Grids of trials: initialisations against each other on targets, their table of results, and Ray."""
