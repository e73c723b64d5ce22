"""Where models come from: paths, URLs and the hub, and which of their files are taken."""
