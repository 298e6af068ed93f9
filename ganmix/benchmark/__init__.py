"""How fast a config's steps are against the textbook's, in one run on one machine."""
