"""Configuration: the models, their reader and their description."""
