"""Statistics on result files."""
