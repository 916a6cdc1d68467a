"""The commands of training, which sg-hub offers: their options in parser.py, what they do in files that import late."""
