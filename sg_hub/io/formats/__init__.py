"""The file formats, one file each: what a header may say, and where the voxels are; and what all of them share."""
