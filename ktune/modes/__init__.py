"""The mode machine and the learning and collaboration drivers."""
