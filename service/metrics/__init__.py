"""What Prometheus reads from a door."""
