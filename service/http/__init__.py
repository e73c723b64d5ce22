"""What every route shares: problems, bodies, headers, streams, logging of requests."""
