"""The store on Redis: records, connections, and one Lua script per transition."""
