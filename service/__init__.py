"""The HTTP front door: API, events, web page, client and command line. Never imports torch."""
