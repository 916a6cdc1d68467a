"""The families of networks, one file each (timm's three, and what comes of other packages, beside them)."""
