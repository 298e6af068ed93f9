"""The speed of a config's steps beside the textbook's, in one run on one machine."""
