"""What the machine or container allows this process."""
