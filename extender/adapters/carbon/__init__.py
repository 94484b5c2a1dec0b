"""The carbon signal: client of the carbon service, and which grid serves which cloud region."""
