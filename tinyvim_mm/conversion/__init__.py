"""Checkpoints between the layouts of the releases and this project's."""
