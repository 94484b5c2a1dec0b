"""The dashboard at `/`: static files of this package, and one live snapshot that all open pages share."""
