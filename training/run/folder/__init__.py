"""What a run keeps in its folder: checkpoints, records and their checksums, metrics, and the lock of who writes."""
