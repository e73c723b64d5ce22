"""The orders that the Lua scripts implement, in plain Python, to check them against."""
