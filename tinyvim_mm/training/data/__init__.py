"""Whether the data of a training are there, and can be used."""
