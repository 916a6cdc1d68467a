"""What is fast and what is not: `make speed`, in parts, into one JSON file and docs/speed.md."""
