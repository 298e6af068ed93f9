"""What is a GAN's or a classifier's: built, watched, scored, exported."""
