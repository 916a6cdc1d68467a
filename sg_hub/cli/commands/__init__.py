"""The commands of sg-hub, one file each; a file is imported when its command is run."""
