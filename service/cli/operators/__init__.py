"""What operators do directly in Redis: keys, tenants, webhook secrets, workers."""
