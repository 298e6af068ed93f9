"""Scores of generated images, and all that makes two scores comparable."""
