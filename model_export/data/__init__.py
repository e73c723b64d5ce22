"""From emoji or a folder of images to a data set."""
