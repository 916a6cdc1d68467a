"""Parsers, and how the inputs that are damaged are made: one file for each room of the packages."""
