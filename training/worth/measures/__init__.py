"""What is measured of a network that is not trained: a file for each."""
