"""The agent inside Spark drivers (one file that runs in users' images) and its wire format."""
