"""The worker around its engine: claims, leases, reports and files."""
