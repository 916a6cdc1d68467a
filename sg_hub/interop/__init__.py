"""Into other tools, one file each; each is imported, with the package that it is for, when it is asked for."""
