"""Tags of the templates that are not pages of the console."""
