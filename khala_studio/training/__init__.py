"""Training: needs torch; never imported by the application."""
