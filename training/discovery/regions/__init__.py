"""Dense patterns: regions of some reference patients, and where every other patient lies on these, voxel by voxel."""
