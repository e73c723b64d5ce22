"""What the commands share: options, tables, errors, pictures in a terminal and in files."""
