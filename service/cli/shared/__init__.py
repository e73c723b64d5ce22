"""What the commands share: options, tables, errors, images in a terminal and in files."""
