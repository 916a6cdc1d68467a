"""One file for each published release."""
